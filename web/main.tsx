// The page begins here: one worker for the model, and the views around it.

import { render } from 'preact'
import { App } from './app.tsx'

render(<App />, document.getElementById('app')!)
