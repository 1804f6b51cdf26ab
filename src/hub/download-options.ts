// The words that finding and downloading checkpoints share: options, progress, patience. Types and
// constants only; knows nothing about any site or any file.

/** What a download tells its caller, at most about ten times a second. */
export interface DownloadProgress {
  readonly phase: 'download'
  /** The file being fetched, as the repository calls it. */
  readonly file: string
  /** Bytes of all wanted files that are on disk now, and that there will be. */
  readonly bytes: number
  readonly totalBytes: number
  readonly bytesPerSecond?: number
  readonly secondsLeft?: number
  /** Something a person should know: waiting for another process, trying again, using the cache. */
  readonly message?: string
}

/** How long to wait for what. Milliseconds, except `attempts`. */
export interface DownloadTiming {
  /** Tries in a row without progress before giving up. */
  readonly attempts: number
  /** Pause after the first failed try; doubles each time, plus up to as much again by chance. */
  readonly backoff: number
  readonly longestBackoff: number
  /** A longer `Retry-After` than this is an error instead of a wait. */
  readonly longestRetryAfter: number
  /** Without a byte for this long, a connection counts as dead. */
  readonly stall: number
  /** How often the holder of a lock says that it lives, and after what silence the lock is free. */
  readonly lockHeartbeat: number
  readonly lockStale: number
  readonly lockPoll: number
}

export const defaultTiming: DownloadTiming = {
  attempts: 6,
  backoff: 500,
  longestBackoff: 20_000,
  longestRetryAfter: 300_000,
  stall: 30_000,
  lockHeartbeat: 2_000,
  lockStale: 20_000,
  lockPoll: 250,
}

export type Environment = Readonly<Record<string, string | undefined>>

export interface DownloadOptions {
  readonly onProgress?: (progress: DownloadProgress) => void
  /** Stops at once; what has arrived stays and is resumed by the next call. */
  readonly signal?: AbortSignal
  /** Branch, tag or commit on Hugging Face; also written `org/name@revision`. Default 'main'. */
  readonly revision?: string
  /** Names to fetch instead of the default choice; `*` stands for any characters except '/'. */
  readonly files?: readonly string[]
  /** Ask the site for a newer version although the cache holds a complete one. */
  readonly refresh?: boolean
  /** Environment variables; default `process.env`. */
  readonly env?: Environment
  readonly timing?: Partial<DownloadTiming>
  /** Free bytes on the disk of a directory; default asks the system. */
  readonly freeBytes?: (directory: string) => Promise<number>
}

/** What is known of a model before its weights are here. */
export interface RemoteDescription {
  /** Where the complete model lies on this machine, if it does. */
  readonly path?: string
  /** config.json's object; absent when the repository has none (GGUF). */
  readonly config?: Readonly<Record<string, unknown>>
  /** The files that loading needs, with their sizes in bytes. */
  readonly files: readonly { readonly name: string; readonly size: number }[]
  readonly totalBytes: number
}
