// What one asks about the program `gemma`, in two wordings, and the command that does it. A test holds every command and
// option against the program's own help.

export interface CommandCard {
  /** Two wordings of what one wants, as they follow 'How do I …?' */
  readonly asks: readonly [string, string]
  readonly command: string
}

const rows: readonly (readonly [ask: string, ask2: string, command: string])[] = [
  ['continue a text with a model', 'generate text', "gemma generate MODEL --prompt 'TEXT'"],
  ['generate from a file', 'read the prompt from a file', 'gemma generate MODEL --prompt-file FILE'],
  [
    'limit the length of an answer',
    'set the number of new tokens',
    "gemma generate MODEL --prompt 'TEXT' --max-tokens 20",
  ],
  [
    'sample with a temperature',
    'make the answers more random',
    "gemma generate MODEL --prompt 'TEXT' --temperature 0.8",
  ],
  [
    'repeat a random answer',
    'set the seed',
    "gemma generate MODEL --prompt 'TEXT' --temperature 0.8 --seed 1",
  ],
  ['get the answer as JSON', 'print JSON', "gemma generate MODEL --prompt 'TEXT' --json"],
  [
    'see the probability of each token',
    'print log-probabilities',
    "gemma generate MODEL --prompt 'TEXT' --logprobs",
  ],
  [
    'ask one question in the chat format',
    'ask a model one question',
    "gemma generate MODEL --chat --prompt 'TEXT'",
  ],
  ['stop an answer at a text', 'end the answer at a word', "gemma generate MODEL --prompt 'TEXT' --stop END"],
  [
    'draw only from the likeliest tokens',
    'use top-k sampling',
    "gemma generate MODEL --prompt 'TEXT' --temperature 1 --top-k 40",
  ],
  [
    'use nucleus sampling',
    'use top-p sampling',
    "gemma generate MODEL --prompt 'TEXT' --temperature 1 --top-p 0.9",
  ],
  ['chat with a model', 'have a conversation with a model', 'gemma chat MODEL'],
  ['give a model instructions', 'set a system message', "gemma chat MODEL --system 'TEXT'"],
  ['chat without progress lines', 'make the chat quiet', 'gemma chat MODEL --quiet'],
  ['see how a text becomes tokens', 'tokenize a text', "gemma tokenize MODEL --text 'TEXT'"],
  ['turn tokens into text', 'decode tokens', 'gemma tokenize MODEL --json --decode'],
  ['get the probability of a text', 'score a text', 'gemma score MODEL'],
  ['see how much memory a model needs', 'inspect a model', 'gemma inspect MODEL'],
  [
    'see the memory of a long context',
    'inspect a model with a longer context',
    'gemma inspect MODEL --context 8192',
  ],
  [
    'convert a model to 4 bits',
    'make a model smaller with 4 bits',
    'gemma convert MODEL OUT.gguf --dtype int4',
  ],
  ['convert a model to 8 bits', 'quantize a model to 8 bits', 'gemma convert MODEL OUT.gguf --dtype int8'],
  ['write a model as GGUF', 'make a GGUF file', 'gemma convert MODEL OUT.gguf --dtype bf16 --format gguf'],
  [
    'write a model as safetensors',
    'make a safetensors file',
    'gemma convert MODEL OUT --dtype bf16 --format safetensors',
  ],
  [
    'merge an adapter into a model',
    'add an adapter to the weights for good',
    'gemma convert MODEL OUT --merge ADAPTER',
  ],
  ['measure the speed of a model', 'benchmark a model', 'gemma bench MODEL'],
  [
    'measure the speed with a long prompt',
    'benchmark a long prompt',
    'gemma bench MODEL --prompt-tokens 2048',
  ],
  ['train a model', 'start training from a recipe', 'gemma train RECIPE'],
  ['look at a batch before training', 'see what the loss will see', 'gemma train RECIPE --show-batch'],
  ['see what training will take', 'check a recipe without training', 'gemma train RECIPE --dry-run'],
  ['begin training anew', 'restart a training run', 'gemma train RECIPE --restart'],
  ['change a value of a recipe', 'set another learning rate', 'gemma train RECIPE --set learningRate=1e-3'],
  ['draw the curves of a run', 'make a training report', 'gemma train report RUN'],
  [
    'train a tokenizer',
    'learn a vocabulary from files',
    'gemma train-tokenizer FILES --vocab-size 2048 --out DIRECTORY',
  ],
  ['answer with an adapter', 'use an adapter', "gemma generate MODEL --adapter ADAPTER --prompt 'TEXT'"],
  [
    'run a model in 8 bits',
    'load the weights in 8 bits',
    "gemma generate MODEL --dtype int8 --prompt 'TEXT'",
  ],
  [
    'run a model on one thread',
    'set the number of threads',
    "gemma generate MODEL --threads 1 --prompt 'TEXT'",
  ],
  ['use a shorter context', 'limit the context of a chat', 'gemma chat MODEL --context 1024'],
  ['keep the context in 8 bits', 'save memory for the context', 'gemma chat MODEL --cache int8'],
  ['see all commands', 'get help about gemma', 'gemma --help'],
  ['see the options of a command', 'get help about one command', 'gemma help COMMAND'],
  ['see the version of gemma', 'print the version', 'gemma --version'],
]

export const commandCards: readonly CommandCard[] = rows.map(([ask, ask2, command]) => ({
  asks: [ask, ask2],
  command,
}))
