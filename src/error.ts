// The one error class of the library. Everything a caller can cause (a broken file, a bad option, a
// model that does not fit) is a GemmaError: what was expected, what came, what to do. Anything else that
// is thrown is a fault of ours. Knows nothing about any other part.

/** What kind of thing went wrong; programs switch on it, people read the message. */
export type ErrorCode =
  | 'usage' // a wrong option or argument
  | 'file' // a file that is missing, unreadable, truncated or malformed
  | 'unsupported' // a well-formed file or request that this library cannot serve
  | 'config' // a configuration that is incomplete or contradicts the weights
  | 'tokenizer' // a broken or missing tokenizer
  | 'template' // messages that the chat template refuses
  | 'context' // a prompt that does not fit the context
  | 'data' // training data that cannot be learned from, or that changed
  | 'memory' // a model that does not fit this machine, or its GPU
  | 'device' // a GPU that was lost or does not do what it should
  | 'network' // a download that failed
  | 'gated' // a repository whose licence must be accepted first
  | 'aborted' // the caller's AbortSignal
  | 'disposed' // use after dispose
  | 'worker' // a worker thread died
  | 'recipe' // a training recipe that is malformed or contradicts itself
  | 'training' // training that cannot go on: a loss that is no number, a checkpoint of another run

export class GemmaError extends Error {
  override readonly name: string = 'GemmaError'
  readonly code: ErrorCode
  /** What the reader can do about it: one sentence, may be empty. */
  readonly remedy: string

  constructor(code: ErrorCode, message: string, remedy = '', options?: ErrorOptions) {
    super(remedy === '' ? message : `${message} ${remedy}`, options)
    this.code = code
    this.remedy = remedy
  }
}

/** The error for an aborted operation; `signal.reason` becomes its cause. */
export function abortedError(signal: AbortSignal): GemmaError {
  return new GemmaError('aborted', 'The operation was aborted.', '', { cause: signal.reason })
}

/** Throws when the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal)
}
