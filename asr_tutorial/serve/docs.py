"""The page at ``/docs``: the API in words, from its own schema, without anything from elsewhere.

FastAPI's own page loads Swagger UI from a content delivery network, which neither a machine without network nor our
content security policy lets pass.
"""

from __future__ import annotations

from html import escape
from typing import Any

EXAMPLES = {
    "/transcribe": "curl -F file=@speech.flac -F search=joint -F nbest=3 {server}/transcribe",
    "/explain": "curl -F file=@speech.flac {server}/explain",
    "/health": "curl {server}/health",
    "/metrics": "curl {server}/metrics",
}


def docs_page(schema: dict[str, Any], server: str) -> str:
    """A page of HTML.

    Args:
        schema: of OpenAPI 3.1.
        server: address in the examples.
    """
    info = schema["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}: the API</h1>",
        '<p>For programs: <a href="/openapi.json">openapi.json</a>. Live speech goes over the WebSocket '
        "<code>/stream</code>, which OpenAPI cannot describe.</p>",
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('description', ''))}</p>")
            if path in EXAMPLES:
                parts.append(f"<pre>{escape(EXAMPLES[path].format(server=server))}</pre>")
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                parts.append(f"<h3>Body, {escape(kind)}</h3>{_properties(content['schema'])}")
            rows = "".join(
                f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td><td>{_kind_of(answer)}</td></tr>"
                for status, answer in operation["responses"].items()
            )
            parts.append(f"<h3>Answers</h3><table><tr><th>status</th><th>when</th><th>body</th></tr>{rows}</table>")
    parts.append("<h1>Bodies of answers</h1>")
    for name, model in schema["components"]["schemas"].items():
        description = f"<p>{escape(model['description'])}</p>" if "description" in model else ""
        parts.append(f'<h2 id="{escape(name)}">{escape(name)}</h2>{description}{_properties(model)}')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>asr_tutorial: API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/static/docs.css"></head><body><main>'
        + "\n".join(parts)
        + "</main></body></html>"
    )


def _properties(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{_kind(value)}</td>"
        f"<td>{'yes' if name in required else 'no'}</td><td>{escape(value.get('description', ''))}</td></tr>"
        for name, value in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>name</th><th>kind</th><th>required</th><th>meaning</th></tr>{rows}</table>"


def _kind_of(answer: dict[str, Any]) -> str:
    kinds = [
        _kind(content["schema"]) if content.get("schema") else escape(name)
        for name, content in answer.get("content", {}).items()
    ]
    return ", ".join(kinds)


def _kind(schema: dict[str, Any]) -> str:
    """What a value is, in a word or two; a link for a model of ours."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(escape(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        items = [schema["items"]] if "items" in schema else schema.get("prefixItems", [])
        return f"list of {_kind(items[0])}" if items else "list"
    return escape(str(schema.get("format", schema.get("type", "anything"))))
