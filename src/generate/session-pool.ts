// Lends the sessions of a model to generations: the free one whose cache serves a prompt best. Knows no run.

import type { Session } from './session.ts'

export interface Lease {
  readonly session: Session
  /** Gives the session back; calling it again does nothing. */
  end(): void
}

export interface SessionPool {
  readonly size: number
  /** A session for these tokens, run with this adapter; when all are taken, one is shared: right, but its cache changes hands. */
  take(tokens: readonly number[], adapter?: string): Lease
}

interface Entry {
  readonly session: Session
  users: number
  lastTaken: number
}

export function createSessionPool(sessions: readonly Session[]): SessionPool {
  const entries = sessions.map((session): Entry => ({ session, users: 0, lastTaken: 0 }))
  let taken = 0
  return {
    size: sessions.length,
    take(tokens, adapter) {
      const least = Math.min(...entries.map(({ users }) => users))
      const free = entries
        .filter(({ users }) => users === least)
        .map((entry) => ({ entry, shared: entry.session.reusable(tokens, adapter) }))
        .sort((a, b) => b.shared - a.shared || a.entry.lastTaken - b.entry.lastTaken)
      const { entry } = free[0]!
      entry.users++
      entry.lastTaken = ++taken
      let ended = false
      return {
        session: entry.session,
        end() {
          if (!ended) entry.users--
          ended = true
        },
      }
    },
  }
}
