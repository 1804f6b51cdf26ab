// The report's looks: light and dark, wide and narrow, screen and paper. Colours of curves are Okabe and Ito's
// (https://jfly.uni-koeln.de/color/), which colour-blind people tell apart, brightened for dark screens; curves
// differ in their dashes too.

export const STYLE = `
:root{color-scheme:light dark;--page:#fbfaf7;--card:#fff;--ink:#1d1f24;--soft:#63676f;--line:#e4e2db;--grid:#ecebe6;
--c0:#0072b2;--c1:#d55e00;--c2:#00875f;--c3:#b8508b;--c4:#8a6d00;--c5:#3596d6;--c6:#4b4b55;--c7:#7b52ab;
--good:#00734f;--warn:#a35200;--bad:#b3261e}
@media screen and (prefers-color-scheme:dark){:root{--page:#131417;--card:#1b1d21;--ink:#eceae4;--soft:#9fa3ab;--line:#2d3036;--grid:#282b30;
--c0:#56b4e9;--c1:#ff9a52;--c2:#35c795;--c3:#ef9fcb;--c4:#e9d858;--c5:#8fb7ff;--c6:#c6c6cf;--c7:#c3a1f0;
--good:#4ccf9f;--warn:#ffb066;--bad:#ff8a80}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1120px;margin:0 auto;padding:48px 24px 64px}
h1,h2,h3,p,figure,ul,dl,dd{margin:0;padding:0}
h1{font-size:clamp(1.7rem,1.2rem + 2vw,2.5rem);line-height:1.15;letter-spacing:-.02em;font-weight:680;overflow-wrap:anywhere;text-wrap:balance}
h2{font-size:1.2rem;letter-spacing:-.01em;margin:56px 0 16px;font-weight:640}
h3{font-size:1rem;font-weight:640}
.eyebrow{font-size:.75rem;letter-spacing:.12em;text-transform:uppercase;color:var(--soft);font-weight:600;margin-bottom:8px}
.lead{color:var(--soft);margin-top:8px;max-width:72ch;overflow-wrap:anywhere}
.status{display:flex;flex-wrap:wrap;align-items:center;gap:0 8px;margin-top:16px;font-size:.9rem;color:var(--tone);font-weight:600}
.status::before{content:"";width:9px;height:9px;border-radius:50%;background:currentColor}
.status span{color:var(--soft);font-weight:400}
.status.open::before{background:none;border:2px solid currentColor}
.finished{--tone:var(--good)}.interrupted,.open{--tone:var(--warn)}.failed{--tone:var(--bad)}
.callout{margin-top:16px;padding:12px 16px;border-left:3px solid var(--tone,var(--warn));background:var(--card);font-size:.9rem;overflow-wrap:anywhere;white-space:pre-line;border-radius:0 8px 8px 0}
.bar{height:4px;margin-top:12px;max-width:420px;border-radius:2px;background:var(--line);overflow:hidden}
.bar i{display:block;height:100%;background:var(--tone)}
.tiles{display:flex;flex-wrap:wrap;gap:1px;margin-top:32px;background:var(--line);border:1px solid var(--line);border-radius:14px;overflow:hidden}
.tiles div{flex:1 1 max(150px,calc(100%/var(--across) - 1px));background:var(--card);padding:16px 18px 14px;min-width:0}
dt{font-size:.8rem;color:var(--soft);font-weight:560}
dd.value{font-size:1.45rem;line-height:1.35;font-weight:660;letter-spacing:-.02em;white-space:nowrap}
dd.more{font-size:.78rem;color:var(--soft);line-height:1.4}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:20px;margin-top:24px}
.chart{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:18px 20px 12px;min-width:0}
.chart.wide{grid-column:1/-1}
figcaption p{font-size:.82rem;color:var(--soft);line-height:1.45}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin-top:8px;font-size:.82rem}
.legend li{display:inline-flex;align-items:center;gap:7px;min-width:0;overflow-wrap:anywhere}
.legend svg{width:28px;height:10px;flex:none}
.frame{padding:14px 6px 26px 52px}
.plot{position:relative;height:200px;touch-action:pan-y;outline-offset:4px}
.wide .plot{height:330px}
.plot svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
svg path{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke-linecap:round}
.grid{stroke:var(--grid)}
.mark{stroke:var(--soft);stroke-dasharray:1 5;opacity:.8}
.guide{stroke:var(--bad);stroke-dasharray:6 5;opacity:.75}
.faint{stroke-width:1;opacity:.27}
.line{stroke-width:2.25}
.thread{stroke-width:1.5;opacity:.55}
.points{stroke-width:6.5}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}.c7{stroke:var(--c7)}
.line.c1{stroke-dasharray:9 5}.line.c2{stroke-dasharray:2 5}.line.c3{stroke-dasharray:12 5 2 5}.line.c4{stroke-dasharray:18 6}.line.c5{stroke-dasharray:5 4}.line.c6{stroke-dasharray:12 4 2 4 2 4}.line.c7{stroke-dasharray:1 4 6 4}
.plot>i{position:absolute;font:500 11.5px/1 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;font-variant-numeric:tabular-nums;color:var(--soft);white-space:nowrap;pointer-events:none}
.plot>.y{right:100%;margin-right:9px;transform:translateY(-50%)}
.plot>.x{top:100%;margin-top:10px;transform:translateX(-50%)}
.plot>.note{right:2px;transform:translateY(-130%);color:var(--bad)}
.plot>.hole{top:-4px;transform:translateX(-50%);color:var(--bad);pointer-events:auto;font-size:13px}
.plot>.at{top:0;bottom:0;width:1px;background:var(--ink);opacity:.4}
.tip{position:absolute;top:0;z-index:1;max-width:min(280px,90%);padding:9px 12px;border-radius:9px;background:var(--ink);color:var(--page);font-size:.78rem;line-height:1.5;pointer-events:none;box-shadow:0 4px 18px #0003}
.tip b{display:block}
.tip span{display:flex;gap:16px;justify-content:space-between;overflow-wrap:anywhere}
.tip .name::before{content:"";flex:none;align-self:center;width:8px;height:8px;margin-right:-8px;border-radius:50%;background:var(--swatch)}
.hint{font-size:.8rem;color:var(--soft);margin-top:12px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:12px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.84rem}
caption{text-align:left;padding:12px 12px 4px;color:var(--soft)}
th,td{padding:7px 12px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{border-top:0;white-space:normal;vertical-align:bottom;color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left}
tbody th{font-weight:560}
.words td{text-align:left;white-space:normal;overflow-wrap:anywhere;vertical-align:top}.words th{text-align:left;vertical-align:top}
.swatch{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:8px;background:var(--swatch)}
details{border-top:1px solid var(--line)}details:last-of-type{border-bottom:1px solid var(--line)}
summary{cursor:pointer;padding:14px 2px;font-weight:600}
summary small{font-weight:400;color:var(--soft);margin-left:8px}
details>:last-child{margin-bottom:20px}
details .scroll+.scroll{margin-top:16px}
pre{margin:0;padding:16px 18px;overflow-x:auto;border:1px solid var(--line);border-radius:12px;background:var(--card);font:.8rem/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.samples{display:grid;gap:20px}
.sample{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:18px 20px}
.sample>p{font-size:.82rem;color:var(--soft);margin-bottom:8px;overflow-wrap:anywhere}
.sample q{color:var(--ink);font-weight:560;quotes:"“" "”";white-space:pre-wrap}
.sample ol{list-style:none;margin:0;padding:0;border-left:2px solid var(--line)}
.sample li{position:relative;padding:6px 0 6px 18px}
.sample li::before{content:"";position:absolute;left:-5px;top:15px;width:8px;height:8px;border-radius:50%;background:var(--c0)}
.sample li span{font-size:.78rem;color:var(--soft);font-weight:560}
.sample blockquote{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;overflow:hidden}
.sample blockquote em{font-style:normal;color:var(--soft)}
footer{margin-top:48px;font-size:.78rem;color:var(--soft)}
@media screen and (max-width:760px){main{padding:28px 14px 40px}.charts{grid-template-columns:minmax(0,1fr);gap:14px}.chart{padding:16px 12px 8px}.wide .plot{height:260px}.frame{padding-left:46px}.tiles{margin-top:24px}.tiles div{flex-basis:calc(50% - 1px);padding:12px 14px}dd.value{font-size:1.3rem}.wide .x:nth-child(even of .x){display:none}h2{margin-top:40px}}
@media print{:root{--page:#fff}main{max-width:none;padding:0}h1{font-size:24px}h2{margin:28px 0 10px}.tiles{margin-top:18px}.tiles div{flex-basis:max(110px,calc(100%/var(--across) - 1px));padding:9px 12px}dd.value{font-size:1.15rem}.charts{gap:12px;margin-top:12px}.chart{padding:12px 14px 4px}th,td{padding:2px 8px}.samples{gap:12px}.sample{padding:12px 14px}summary{padding:8px 0}.chart,.sample,tr{break-inside:avoid}h2{break-after:avoid}.hint,.tip,.at{display:none}.scroll{overflow:visible}pre{white-space:pre-wrap}.plot{height:130px}.wide .plot{height:220px}body{font-size:13px;print-color-adjust:exact;-webkit-print-color-adjust:exact}}
`
