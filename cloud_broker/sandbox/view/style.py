"""Provides the frame of every HTML page, without external resources."""

from __future__ import annotations

import base64
import hashlib
from html import escape

CSS = """
:root { color-scheme: light dark; --ink:#37352f; --soft:#8a8780; --line:#e9e7e2; --ground:#fff;
  --tint:#f7f6f3; --mark:#fff4d6; --link:#2b6cb0; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e3dc; --soft:#96928a; --line:#33312d;
  --ground:#1e1d1b; --tint:#272522; --mark:#4a3f1f; --link:#8ab8ec; } }
* { box-sizing:border-box }
body { margin:0; background:var(--ground); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif }
main { max-width:46rem; margin:0 auto; padding:3rem 1.25rem 6rem }
h1 { font-size:1.9rem; line-height:1.25; margin:.2em 0 .6em }
a { color:var(--link); text-decoration:none } a:hover { text-decoration:underline }
.note,.id,.crumbs { color:var(--soft); font-size:.8rem }
.id { font-family:ui-monospace,Menlo,Consolas,monospace; opacity:0; margin-left:.6rem;
  font-weight:400; user-select:all }
.b:hover > .id, .b:target > .id, .b:focus-within > .id { opacity:1 }
.ids .id { opacity:1 }
.b { padding:.12rem .5rem; margin:0 -.5rem; border-radius:4px; overflow-wrap:anywhere }
.b:target { background:var(--mark) } .b.new { background:var(--mark); transition:background 3s }
.kids { margin-left:1.4rem } .row { display:flex; gap:1.4rem } .row > .b { flex:1 }
.heading_1 { font-size:1.55rem; font-weight:650; margin-top:1.4rem }
.heading_2 { font-size:1.27rem; font-weight:650; margin-top:1.1rem }
.heading_3,.heading_4 { font-size:1.08rem; font-weight:650; margin-top:.8rem }
.quote { border-left:3px solid var(--ink); padding-left:.9rem }
.callout { background:var(--tint); padding:.7rem .9rem; margin:.3rem 0 }
.code { background:var(--tint); padding:.7rem .9rem; white-space:pre-wrap;
  font:.87rem/1.5 ui-monospace,Menlo,Consolas,monospace }
code { background:var(--tint); padding:.1em .3em; border-radius:3px; font-size:.88em }
hr { border:0; border-top:1px solid var(--line); display:inline-block; width:60% }
table { border-collapse:collapse } td { border:1px solid var(--line); padding:.3rem .6rem }
ul.tree { list-style:none; padding-left:1.2rem } ul.tree ul { padding-left:1.4rem; list-style:none }
.button { display:inline-block; background:#2f6fb3; color:#fff; padding:.55rem 1.3rem;
  border-radius:6px; margin-right:.5rem } .quiet { background:var(--tint); color:var(--ink) }
.color-red { color:#c4453a } .color-blue { color:#3a74b5 } .color-green { color:#3d8a5f }
.color-gray { color:var(--soft) } .color-brown { color:#8f6a4e } .color-orange { color:#c2752f }
.color-yellow { color:#b38b1d } .color-purple { color:#8660ab } .color-pink { color:#b3588c }
"""
LIVE = """
const body = document.getElementById('blocks'), head = document.getElementById('live');
let known = body.dataset.revision;
async function look() {
  try {
    const got = await fetch(location.pathname + '?fragment=1&since=' + known);
    head.textContent = 'live';
    if (got.status === 200) {
      const before = new Set([...body.querySelectorAll('.b')].map(b => b.id));
      known = got.headers.get('X-Revision');
      body.innerHTML = await got.text();
      for (const b of body.querySelectorAll('.b')) if (!before.has(b.id)) {
        b.classList.add('new'); setTimeout(() => b.classList.remove('new'), 2500);
      }
    }
  } catch { head.textContent = 'the sandbox does not answer'; }
  setTimeout(look, 700);
}
document.getElementById('ids').onclick = (e) => { e.preventDefault();
  document.body.classList.toggle('ids'); };
look();
"""


# The only script that the content security policy allows.
LIVE_HASH = base64.b64encode(hashlib.sha256(LIVE.encode()).digest()).decode()


def page(title: str, body: str, script: str = "") -> str:
    """Wrap ``body`` (already escaped) in a complete document."""
    code = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} – Sandbox Notion</title><style>{CSS}</style>"
        f"<body><main>{body}</main>{code}</body></html>"
    )
