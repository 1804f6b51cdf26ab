// Lets what waits have its turn. Where the calling thread computes, runs follow each other without ever coming back to the
// event loop: no Ctrl-C would be heard and no timer would ring.

/** Fulfilled after what the event loop has to do now. */
export function breathe(): Promise<void> {
  return new Promise((done) => setTimeout(done))
}
