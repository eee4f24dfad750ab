"""How the page looks: one style sheet for phone, desk and paper, light and dark."""

LIGHT = {'ground': '#f6f7f8', 'card': '#ffffff', 'ink': '#1b1f24', 'faint': '#545d68', 'rule': '#d5dae0', 'link': '#0a58a6', 'shade': '#eef1f4',
         'ok': '#14713f', 'warn': '#8a5a00', 'bad': '#b3261e', 'unknown': '#545d68', 'c0': '#0a5fb4', 'c1': '#bb4d00', 'c2': '#646b75', 'c3': '#137a4b',
         'c4': '#7b3fa6'}
DARK = {'ground': '#0f1216', 'card': '#181c21', 'ink': '#e9ebee', 'faint': '#a9b2bd', 'rule': '#343b44', 'link': '#7db8ff', 'shade': '#222830',
        'ok': '#62d296', 'warn': '#f2c14e', 'bad': '#ff8f85', 'unknown': '#a9b2bd', 'c0': '#6fb3ff', 'c1': '#ff9e57', 'c2': '#aab2bc', 'c3': '#5fd3a0',
        'c4': '#d3a6ff'}

RULES = '''
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
main,header.top,footer{max-width:1104px;margin:0 auto;padding:0 16px}
h1{font-size:26px;line-height:1.2;margin:22px 0 4px}
h2{font-size:21px;line-height:1.25;margin:0 0 6px}
h3{font-size:17px;margin:20px 0 4px}
p{margin:0 0 10px;max-width:75ch}
a{color:var(--link)}
code{font:15px/1.4 ui-monospace,"Cascadia Mono",Menlo,Consolas,monospace}
.faint,.lead{color:var(--faint)}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:18px 16px;margin:16px 0;scroll-margin-top:8px}
.note{border-left:4px solid var(--rule);padding:6px 12px;color:var(--faint)}
nav ul{display:flex;flex-wrap:wrap;gap:8px;list-style:none;padding:0;margin:14px 0}
nav a{display:inline-flex;align-items:center;min-height:44px;padding:0 14px;border:1px solid var(--rule);border-radius:22px;background:var(--card);
text-decoration:none}
dl.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px 16px;margin:14px 0}
dl.facts dt{color:var(--faint);font-size:15px}
dl.facts dd{margin:0;font-size:18px;font-weight:600;font-variant-numeric:tabular-nums}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.sign{display:inline-flex;flex:none;align-items:center;justify-content:center;width:30px;height:30px;border-radius:50%;border:2px solid;
font-weight:700;line-height:1;position:relative}
.ok{color:var(--ok)}.warn{color:var(--warn)}.bad{color:var(--bad)}.unknown{color:var(--unknown)}
.overall{display:flex;gap:14px;align-items:center;border-left:6px solid;padding:4px 0 4px 14px;margin-bottom:14px}
.overall .said{color:var(--ink)}
.overall p{margin:0;color:var(--ink);font-size:19px;font-weight:600}
ol.checks{list-style:none;margin:0;padding:0;display:grid;gap:0 32px}
ol.checks li{display:flex;gap:12px;padding:12px 0;border-top:1px solid var(--rule)}
ol.checks .what{font-weight:600}
ol.checks .figure{font-variant-numeric:tabular-nums}
ol.checks p{margin:2px 0 0}
.charts{display:grid;gap:22px 36px;margin:14px 0}
figure{margin:0;min-width:0;break-inside:avoid}
figcaption{margin-bottom:6px}
figcaption span{color:var(--faint)}
svg{display:block;max-width:100%;height:auto;overflow:visible}
.narrow svg{width:100%;max-width:480px}
.wide,.middle{display:none}
svg text{font:15px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums}
svg .label,svg .faint{fill:var(--faint)}
svg .halo{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.grid{stroke:var(--rule)}.axis{stroke:var(--faint)}
.line{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}
.line.dashed{stroke-dasharray:6 4}
.band{fill:var(--c);opacity:.17}
.whisker{stroke:var(--c);stroke-width:1.6;opacity:.75}
.mark{fill:var(--c);stroke:var(--card);stroke-width:1}
.mark.cross,.mark.tick{fill:none;stroke:var(--c);stroke-width:2.4}
.dots{fill:none;stroke:var(--c);stroke-width:4;stroke-linecap:round}.dots.c1{stroke-linecap:square;stroke-width:3.4}
.bar,.area{fill:var(--c,var(--c0))}
.count{fill:var(--faint);opacity:.28}
.ideal{stroke:var(--faint);stroke-width:1.5;stroke-dasharray:3 4}
.limit{stroke:var(--bad);stroke-width:1.8;stroke-dasharray:8 4}
.marker{stroke-width:2}
.span0{fill:var(--shade)}.span1{fill:var(--rule);opacity:.75}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.bar.c0,.bar.c1,.bar.c2,.bar.c3,.bar.c4{fill:var(--c)}
.alarm{--c:var(--bad)}.good{--c:var(--ok)}.plain{--c:var(--faint)}
ul.legend{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;padding:0;margin:0 0 6px;font-size:15px}
ul.legend li{display:inline-flex;align-items:center;gap:7px}
details{border-top:1px solid var(--rule);margin-top:12px}
summary{cursor:pointer;min-height:44px;padding:10px 4px;color:var(--link);font-weight:600}
.scroll{overflow-x:auto;max-width:100%;margin:0 0 14px;border:1px solid var(--rule);border-radius:8px}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:3px solid var(--link);outline-offset:2px}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:15px;font-variant-numeric:tabular-nums;overflow-wrap:normal}
.table{min-width:0}.caption{color:var(--faint);font-size:15px;margin:10px 0 4px}
th:first-child{position:sticky;left:0;background:var(--card)}thead th:first-child{background:var(--shade)}
tbody th{white-space:normal;min-width:6em;max-width:46vw}
th,td{padding:7px 10px;text-align:right;border-top:1px solid var(--rule);white-space:nowrap}
th:first-child{text-align:left}
td.text,th.text{text-align:left;white-space:normal;min-width:16ch}
thead th{background:var(--shade);border-top:0;white-space:normal}
.sheet{border-top:1px solid var(--rule);margin-top:14px}
.strip{margin:0 0 14px}
.when{color:var(--faint);margin:6px 0}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:12px;max-width:900px}
.pictures img{width:100%;height:auto;display:block;border-radius:6px;image-rendering:pixelated;background:var(--shade)}
.pictures figcaption{font-size:15px;line-height:1.3;margin:4px 0 0}
.marker{stroke:var(--ink)}.marker.late{stroke-dasharray:5 3}
footer{color:var(--faint);padding-bottom:32px}
@media (min-width:700px){
h1{font-size:32px}section{padding:24px 26px}
.charts{grid-template-columns:1fr 1fr}.charts .full{grid-column:1/-1}
ol.checks{grid-template-columns:1fr 1fr}
.full .narrow{display:none}.full .middle{display:block}
}
@media (min-width:1104px){.narrow,.full .middle{display:none}.wide{display:block}}
@media print{
body{background:#fff;font-size:11pt}nav{display:none}section{border:0;border-top:1px solid #bbb;border-radius:0;padding:10px 0;margin:0}
.charts{grid-template-columns:1fr 1fr}.charts .full{grid-column:1/-1}
h2,h3,figcaption{break-after:avoid}tr,li,.pictures figure{break-inside:avoid}.scroll{overflow:visible}
th,td,td.text{white-space:normal;padding:3px 6px;font-size:9pt}tbody th{position:static;min-width:0;max-width:none}
details::details-content{content-visibility:visible!important;display:block!important}
}
'''


def style():
    """Write the style sheet: the colours of light and dark, then the rules."""
    light, dark = (':root{' + ''.join(f'--{name}:{value};' for name, value in colours.items()) + '}' for colours in (LIGHT, DARK))
    return f'{light}@media (prefers-color-scheme:dark){{{dark}}}@media print{{{light}}}{RULES}'.replace('\n', '')
