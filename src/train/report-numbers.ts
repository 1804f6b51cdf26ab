// Numbers as people read them, for the progress line and the report of a run. Knows nothing about what they count.

/** 2506172416 → '2,506,172,416'. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US')
}

/** 2506172416 → '2.51 B'; small counts in full. */
export function formatShortCount(count: number): string {
  if (!Number.isFinite(count)) return formatNumber(count)
  const units = ['', ' k', ' M', ' B', ' T']
  let value = count
  let unit = 0
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return unit === 0 ? String(Number(value.toFixed(2))) : `${Number(value.toPrecision(3))}${units[unit]}`
}

/** 3661 → '1 h 1 min'; days for what takes longer than two of them. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return formatNumber(seconds)
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  if (whole < 172_800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`
}

/** Four digits that matter, without a row of zeros: 0.00030000 → '3e-4'. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞'
  const size = Math.abs(value)
  if (value === 0) return '0'
  if (size >= 1e6 || size < 1e-3) {
    const [digits, exponent] = value.toExponential(2).split('e')
    return `${Number(digits)}e${Number(exponent)}`.replaceAll('-', '−')
  }
  if (size >= 9999.5) return formatCount(value).replace('-', '−')
  return String(Number(value.toPrecision(4))).replace('-', '−')
}

/** 0.4567 → '45.7 %'. */
export function formatPercent(share: number): string {
  return Number.isFinite(share) ? `${(share * 100).toFixed(1)} %` : formatNumber(share)
}
