// What the page and the worker that runs the model say to each other. Types alone: everything here can be cloned from
// one thread to the other.

import type { Piece, Summary, WebInspection, WebMachine } from '../../src/index.web.ts'

/** Where a model comes from, as the page names it. */
export type Source =
  | { readonly kind: 'built-in' }
  /** A model that was kept in this browser. */
  | { readonly kind: 'kept'; readonly id: string }
  | { readonly kind: 'files'; readonly files: readonly File[] }
  /** The address of a file or folder, or a Hugging Face id; the token goes along as Authorization. */
  | { readonly kind: 'url'; readonly url: string; readonly token?: string }

export interface WantedFile {
  readonly name: string
  readonly size: number
}

export interface KeptModel {
  readonly id: string
  /** What it was called where it came from. */
  readonly name: string
  readonly bytes: number
  /** Bytes that are here; fewer than `bytes` while, or after, it was being fetched. */
  readonly here: number
  /** Where the rest can be had, if it came from an address. */
  readonly url?: string
}

export interface Storage {
  readonly models: readonly KeptModel[]
  /** Bytes that this origin uses and may use. */
  readonly usage: number
  readonly quota: number
}

export interface LoadOptions {
  readonly device: 'auto' | 'cpu' | 'webgpu'
  readonly dtype: 'auto' | 'bf16' | 'int8' | 'int4' | 'f32'
  readonly contextLength?: number
  readonly threads?: number
}

export interface Loaded {
  readonly name: string
  /** What runs where. */
  readonly description: string
  readonly contextLength: number
  /** Whether a system message can be given. */
  readonly takesSystem: boolean
  /** Questions to begin with, where the model was taught a closed set of them; each stands for itself. */
  readonly examples: readonly string[]
}

export type Message = {
  readonly role: 'user' | 'assistant' | 'system'
  readonly content: string
}

export interface Sampling {
  readonly temperature: number
  readonly topK?: number
  readonly topP?: number
  readonly maxTokens?: number
  readonly seed?: number
}

export interface Progress {
  readonly phase: 'download' | 'copy' | 'load'
  readonly name: string
  readonly bytes: number
  readonly totalBytes: number
}

export interface Answer {
  readonly summary: Summary
  /** Messages left out because the context was full. */
  readonly dropped: number
}

export interface TokenView {
  readonly ids: readonly number[]
  /** As the vocabulary writes them. */
  readonly pieces: readonly string[]
  readonly control: readonly boolean[]
}

/** Each method: what it takes, what it gives, and what it says meanwhile. */
export interface Methods {
  machine: { args: []; value: WebMachine; event: never }
  storage: { args: []; value: Storage; event: never }
  inspect: { args: [source: Source, contextLength?: number]; value: WebInspection; event: never }
  /** Copies or downloads the files of a model into this browser. Gives its id. */
  keep: { args: [source: Source, files: readonly WantedFile[]]; value: string; event: Progress }
  /** Goes on with a download that was broken off. */
  resume: { args: [id: string, token?: string]; value: null; event: Progress }
  forget: { args: [id: string]; value: null; event: never }
  /** Takes the place of what was loaded before. */
  load: { args: [source: Source, options: LoadOptions]; value: Loaded; event: Progress }
  unload: { args: []; value: null; event: never }
  /** Says the answer as it grows, and how much of the prompt is done. */
  chat: {
    args: [messages: readonly Message[], sampling: Sampling]
    value: Answer
    event: { readonly text: string } | { readonly prompt: readonly [done: number, total: number] }
  }
  /** Goes on with a text as it stands, <bos> in front; says each token as it comes. */
  continue: { args: [text: string, sampling: Sampling]; value: Summary; event: Piece }
  /** The conversation as the model reads it. */
  prompt: { args: [messages: readonly Message[]]; value: { text: string; tokens: number }; event: never }
  tokenize: { args: [text: string, parseControl: boolean]; value: TokenView; event: never }
}

export type Method = keyof Methods

/** To the worker. */
export type Request =
  | { readonly id: number; readonly method: Method; readonly args: readonly unknown[] }
  | { readonly id: number; readonly abort: true }

export interface Fault {
  /** GemmaError's code, or 'internal' for a fault of ours. */
  readonly code: string
  readonly message: string
}

/** From the worker. */
export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly fault: Fault }
