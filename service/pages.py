"""Two plain pages: what this is, and the interface, drawn from the OpenAPI document. No script, nothing from elsewhere."""

from html import escape
from typing import Any

from .inference.artifact import Artifact

_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem;border-top:1px solid #8886;padding-top:1rem}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{padding:.8rem;overflow:auto;background:#8881;border-radius:6px}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0}
th{font-weight:600}.method{font-weight:700}.quiet{opacity:.75}
"""

_EXAMPLE = """curl -s localhost:8000/v1/classify -H 'Content-Type: application/json' \\
  -d '{"text": "The ministry declined to say how many were wounded."}'"""


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>"
    )


def home(artifact: Artifact) -> str:
    """What is served, and how to ask it."""
    manifest = artifact.manifest
    labels = "".join(f"<li><code>{escape(label)}</code></li>" for label in manifest.labels)
    return _page(
        "Paraframe",
        "<h1>Paraframe</h1><p>How a text frames what it tells: for every paragraph a framing label, a calibrated "
        "confidence, and the sentences that carry it.</p>"
        f"<p>Served is <code>{escape(manifest.name)} {escape(manifest.version)}</code> "
        f'<span class="quiet">({artifact.sha256[:12]})</span>. It looks for:</p><ul>{labels}</ul>'
        f"<pre>{escape(_EXAMPLE)}</pre>"
        "<p>A framing found is not a verdict of propaganda: news that reports a framing carries it too, and "
        "<code>voice</code> says whose it is.</p>"
        '<p><a href="/docs">The interface</a> · <a href="/openapi.json">OpenAPI</a></p>',
    )


def docs(openapi: dict[str, Any]) -> str:
    """Every operation with its fields and answers."""
    sections = [
        _operation(method, path, operation, openapi)
        for path, item in openapi["paths"].items()
        for method, operation in item.items()
    ]
    intro = f"<h1>{escape(openapi['info']['title'])} {escape(openapi['info']['version'])}</h1>"
    link = '<p><a href="/openapi.json">OpenAPI document</a>, for tools.</p>'
    return _page("Paraframe: the interface", intro + link + "".join(sections))


def _operation(method: str, path: str, operation: dict[str, Any], openapi: dict[str, Any]) -> str:
    parts = [f'<h2><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2>']
    parts.append(f"<p>{escape(operation.get('description', ''))}</p>")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        parts.append("<h3>Request</h3>" + _fields(body, openapi, asked=True))
    for status, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if status.startswith("2") and schema:
            parts.append(f"<h3>Answer {status}</h3>" + _fields(schema, openapi, asked=False))
    others = [f"{status} {escape(a['description'])}" for status, a in operation["responses"].items() if status[0] != "2"]
    parts.append(f'<p class="quiet">Errors: {"; ".join(others)}.</p>')
    return "".join(parts)


def _fields(schema: dict[str, Any], openapi: dict[str, Any], *, asked: bool) -> str:
    resolved = _resolve(schema, openapi)
    required = resolved.get("required", [])
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(field, openapi))}</td>"
        f"<td>{'required' if name in required and asked else ''}</td><td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in resolved.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _resolve(schema: dict[str, Any], openapi: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = openapi["components"]["schemas"][reference.rsplit("/", 1)[-1]]
    return found


def _type(field: dict[str, Any], openapi: dict[str, Any]) -> str:
    """A field's type in words, one level deep."""
    if "$ref" in field:
        return f"object ({', '.join(_resolve(field, openapi).get('properties', {}))})"
    if "anyOf" in field:
        return " or ".join(_type(option, openapi) for option in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), openapi)}"
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    return str(field.get("type", "any"))
