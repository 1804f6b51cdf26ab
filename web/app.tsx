// The page as a whole: which model is loaded, and which of the views is shown. The views stay mounted, so that
// nothing that was typed is lost by looking elsewhere.

import { useEffect, useMemo, useState } from 'preact/hooks'
import { createEngine } from './engine/client.ts'
import type { Loaded } from './engine/protocol.ts'
import { ChatView } from './views/chat.tsx'
import { ModelView } from './views/model.tsx'
import { useSettings } from './views/settings.tsx'
import { TextView } from './views/text.tsx'
import { TokensView } from './views/tokens.tsx'

const VIEWS = { model: 'Model', chat: 'Chat', text: 'Text', tokens: 'Tokens' } as const
type View = keyof typeof VIEWS

export function App() {
  const [view, setView] = useState<View>('model')
  const [loaded, setLoaded] = useState<Loaded>()
  const [settings, setSettings] = useSettings()
  const [death, setDeath] = useState<string>()
  const engine = useMemo(
    () =>
      createEngine(
        () => new Worker(new URL('./engine/worker.ts', import.meta.url), { type: 'module', name: 'gemma' }),
        (error) => {
          setLoaded(undefined)
          setDeath(error.message)
        },
      ),
    [],
  )
  // For people who look over a page's shoulder: which model it is.
  useEffect(() => {
    document.title = loaded ? `${loaded.name} · Gemma in this page` : 'Gemma in this page'
  }, [loaded])
  const show = (next: View): void => setView(next)
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header>
        <h1>
          Gemma <small>in this page; nothing leaves this machine</small>
        </h1>
        <nav aria-label="Views">
          {(Object.keys(VIEWS) as View[]).map((name) => (
            <button
              key={name}
              type="button"
              aria-current={view === name ? 'page' : undefined}
              disabled={name !== 'model' && !loaded}
              onClick={() => show(name)}
            >
              {VIEWS[name]}
            </button>
          ))}
        </nav>
        <p class="status" role="status">
          {loaded ? (
            <>
              <b>{loaded.name}</b> · {loaded.description}
            </>
          ) : (
            'No model is loaded.'
          )}
        </p>
      </header>
      <main id="main">
        {death !== undefined && (
          <p class="fault" role="alert">
            {death}{' '}
            <button type="button" onClick={() => setDeath(undefined)}>
              Close
            </button>
          </p>
        )}
        <section hidden={view !== 'model'} aria-label="Model">
          <ModelView
            engine={engine}
            loaded={loaded}
            onLoading={() => setLoaded(undefined)}
            onLoaded={(model) => {
              setLoaded(model)
              setDeath(undefined)
              show('chat')
            }}
          />
        </section>
        <section hidden={view !== 'chat'} aria-label="Chat">
          {loaded && (
            <ChatView
              engine={engine}
              loaded={loaded}
              settings={settings}
              onSettings={setSettings}
              visible={view === 'chat'}
            />
          )}
        </section>
        <section hidden={view !== 'text'} aria-label="Text">
          {loaded && (
            <TextView engine={engine} loaded={loaded} settings={settings} onSettings={setSettings} />
          )}
        </section>
        <section hidden={view !== 'tokens'} aria-label="Tokens">
          {loaded && <TokensView engine={engine} loaded={loaded} />}
        </section>
      </main>
    </>
  )
}
