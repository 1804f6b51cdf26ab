// Where the small model lies that ships with the package: beside src/ in the repository, beside dist/ in the package.
// Runs everywhere; bundlers see the address and take the file along.

/** One GGUF file with weights and tokenizer. Made by `npm run micro`. */
export function builtInModel(): URL {
  return new URL('../models/micro/micro.gguf', import.meta.url)
}
