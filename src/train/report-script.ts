// What the page does when it is pointed at: a line across all charts at one step, and the values there. The page is
// complete without it. Plain JavaScript of browsers, held as text: it goes into the page as it stands.

export const SCRIPT = `
'use strict'
{
  const data = JSON.parse(document.getElementById('readouts').textContent)
  const plots = [...document.querySelectorAll('.plot')]
  const format = (value, unit) =>
    value === null ? 'not finite'
      : unit === 'percent' ? (value * 100).toFixed(1) + ' %'
      : unit === 'count' || Math.abs(value) >= 10000 ? Math.round(value).toLocaleString('en-US')
      : String(value)
  const nearest = (steps, step) => {
    let low = 0, high = steps.length - 1
    while (high - low > 1) { const middle = (low + high) >> 1; if (steps[middle] <= step) low = middle; else high = middle }
    return step - steps[low] <= steps[high] - step ? low : high
  }
  // The steps of the first run's curve, which arrow keys walk along.
  const walk = data.steps.reduce((longest, one) => (one.length > longest.length ? one : longest), [])
  let place = 0
  const hide = () => document.querySelectorAll('.at,.tip').forEach((one) => one.remove())
  const show = (wanted, owner) => {
    hide()
    if (walk.length === 0) return
    place = nearest(walk, wanted)
    const step = walk[place]
    const left = data.lastStep > 0 ? step / data.lastStep : 0
    for (const plot of plots) {
      const line = plot.appendChild(document.createElement('i'))
      line.className = 'at'
      line.style.left = left * 100 + '%'
    }
    const tip = document.createElement('div')
    tip.className = 'tip'
    tip.setAttribute('role', 'status')
    tip.style[left < 0.5 ? 'left' : 'right'] = 'calc(' + (left < 0.5 ? left : 1 - left) * 100 + '% + 12px)'
    tip.appendChild(document.createElement('b')).textContent = 'Step ' + step.toLocaleString('en-US')
    for (const { label, color, at, values } of data.charts[owner.dataset.chart]) {
      const found = nearest(data.steps[at], step)
      const there = data.steps[at][found]
      const row = tip.appendChild(document.createElement('span'))
      const name = row.appendChild(document.createElement('span'))
      name.className = 'name'
      name.style.setProperty('--swatch', 'var(--c' + color + ')')
      name.textContent = label + (there === step ? '' : ' (step ' + there.toLocaleString('en-US') + ')')
      row.appendChild(document.createElement('span')).textContent = format(values[found], data.units[owner.dataset.chart])
    }
    owner.appendChild(tip)
  }
  for (const plot of plots) {
    plot.tabIndex = 0
    const point = (event) => {
      const box = plot.getBoundingClientRect()
      show(((event.clientX - box.left) / box.width) * data.lastStep, plot)
    }
    plot.addEventListener('pointermove', point)
    plot.addEventListener('pointerdown', point)
    plot.addEventListener('pointerleave', hide)
    plot.addEventListener('blur', hide)
    plot.addEventListener('keydown', (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity }[event.key]
      if (event.key === 'Escape') hide()
      if (by === undefined) return
      event.preventDefault()
      show(walk[Math.max(0, Math.min(walk.length - 1, place + by))], plot)
    })
  }
  addEventListener('beforeprint', () => document.querySelectorAll('details').forEach((one) => { one.open = true }))
}
`
