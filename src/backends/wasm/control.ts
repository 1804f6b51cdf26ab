// The words of the control block, a small shared array beside the model's memories, by which the main thread
// starts a program and the workers keep in step.

export const GENERATION = 0 // number of the program run under way, raised by the main thread
export const PROGRAM = 1 // byte address of the program's words in memory 0
export const CALLS = 2 // their number
export const ARRIVED = 3 // workers at the current barrier
export const PHASE = 4 // raised by the last worker that arrives
export const STOP = 5 // the main thread asks to abandon the program
export const STOPPED = 6 // the generation that was abandoned
export const DONE = 7 // the last generation that ended
export const FAILED = 8 // a worker threw
export const EXIT = 9
export const ACTIVE = 10 // workers that take part in this run: the first so many
export const LEFT = 11 // workers that have ended it
/** From here one word per worker, set to the generation to wake it. */
export const WAKE = 64
export const MOST_WORKERS = 256
export const CONTROL_WORDS: number = WAKE + MOST_WORKERS

/** Words of one call: kernel (−1: transfer), memory, address of its arguments, barrier after it, then for a transfer: target memory, target address, bytes. */
export const CALL_WORDS = 8
