// What went wrong, in the words of the error.

export function Fault({ message }: { message: string | undefined }) {
  if (message === undefined) return null
  return (
    <p class="fault" role="alert">
      {message}
    </p>
  )
}

/** An error's message; undefined for what the person stopped. */
export function messageOf(error: unknown): string | undefined {
  if (error instanceof Error)
    return (error as { code?: string }).code === 'aborted' ? undefined : error.message
  return String(error)
}
