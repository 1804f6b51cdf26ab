// What to ask the small model first.

export const exampleQuestions: readonly string[] = [
  'What is 384 + 257?',
  'Write user name list in camelCase.',
  'Write a short story about a happy fox and a lamp in the forest.',
]
