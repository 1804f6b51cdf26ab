// What went wrong, in the words of the error.

export function Fault({ message }: { message: string | undefined }) {
  if (message === undefined) return null
  return (
    <p class="fault" role="alert">
      {message}
    </p>
  )
}
