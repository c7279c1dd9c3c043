"""Contract 1 as recorded pairs of a request and its reply, byte for byte.

`TOKEN` and `ADMIN-KEY` in a request stand for the real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
USER = {"Authorization": "TOKEN"}
ASK = "POST /api/ask"
ADD = "POST /admin/users/add"
DELETE = "POST /admin/users/delete"
USERS = "GET /admin/users"


@dataclass(frozen=True, slots=True)
class Pair:
    """A request and its whole reply."""

    name: str
    request: str
    status: int
    reply: bytes
    body: bytes = b""
    sent: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # of the reply; "" stands for none

    def __str__(self) -> str:
        return self.name


def refused(name: str, status: int, reply: bytes, body: bytes = b"{}", **sent: str) -> Pair:
    """An ask that reaches no agent."""
    headers = {"content-type": JSON, "access-control-allow-origin": "*"}
    return Pair(name, ASK, status, reply, body, sent, headers | ({"retry-after": "5"} if status == 503 else {}))


NO_KEY = b'{"error":"API key not provided"}'
BAD_KEY = b'{"error":"Invalid API key"}'
BAD_BODY = b'{"error":"Invalid request"}'
NO_AGENT = b'{"error":"No available clients"}'

# In the order of the checks: the credential, the body, the agents.
ASK_REFUSED = [
    refused("no credential, good body", 401, NO_KEY, b'{"content":"Hi"}'),
    refused("no credential, bad body", 401, NO_KEY, b"nonsense"),
    refused("empty credential", 401, BAD_KEY, Authorization=""),
    refused("unknown token", 401, BAD_KEY, Authorization="8e0b8d04-9c7c-4a44-8c63-2d1fae5ad7c2"),
    refused("unknown token, bad body", 401, BAD_KEY, b"nonsense", Authorization="nonsense"),
    refused("unknown token behind Bearer", 401, BAD_KEY, Authorization="Bearer nonsense"),
    refused("Bearer and nothing", 401, BAD_KEY, Authorization="Bearer"),
    refused("empty body", 400, BAD_BODY, b"", Authorization="TOKEN"),
    refused("blanks", 400, BAD_BODY, b" \n", Authorization="TOKEN"),
    refused("bad JSON", 400, BAD_BODY, b'{"content":', Authorization="TOKEN"),
    refused("array", 400, BAD_BODY, b'["Hi"]', Authorization="TOKEN"),
    refused("string", 400, BAD_BODY, b'"Hi"', Authorization="TOKEN"),
    refused("number", 400, BAD_BODY, b"1", Authorization="TOKEN"),
    refused("byte-order mark", 400, BAD_BODY, b'\xef\xbb\xbf{"content":"Hi"}', Authorization="TOKEN"),
    refused("number as content", 400, BAD_BODY, b'{"content":1}', Authorization="TOKEN"),
    refused("number as content, key in capitals", 400, BAD_BODY, b'{"CONTENT":1}', Authorization="TOKEN"),
    refused("object as parent_id", 400, BAD_BODY, b'{"parent_id":{}}', Authorization="TOKEN"),
    refused("array as message_id", 400, BAD_BODY, b'{"message_id":[]}', Authorization="TOKEN"),
    refused("true as conversation_id", 400, BAD_BODY, b'{"conversation_id":true}', Authorization="TOKEN"),
    refused("no agent", 503, NO_AGENT, b'{"content":"Hi"}', Authorization="TOKEN"),
    refused("no agent, behind Bearer", 503, NO_AGENT, Authorization="Bearer TOKEN"),
    refused("no agent, behind bearer in small letters", 503, NO_AGENT, Authorization="bearer TOKEN"),
    refused("no agent, admin key", 503, NO_AGENT, Authorization="ADMIN-KEY"),
    refused("no agent, null as body", 503, NO_AGENT, b"null", Authorization="TOKEN"),
    refused("no agent, unknown conversation", 503, NO_AGENT, b'{"conversation_id":"x"}', Authorization="TOKEN"),
]

ANSWERED_HEADERS = {"content-type": JSON, "access-control-allow-origin": "*", "x-queue-wait": ""}


@dataclass(frozen=True, slots=True)
class Failure:
    """What an agent says to an ask, and what becomes of it."""

    name: str
    message: str
    data: str
    status: int
    reply: bytes

    def __str__(self) -> str:
        return self.name


def rubbish(why: str) -> bytes:
    return b'{"err":"%s","error":"Failed to convert response to ChatGptResponse"}' % why.encode()


AGENT_FAILS = [
    Failure("the real agent's error frame", "error", "Unknown error", 502, b'{"error":"Agent error: Unknown error"}'),
    Failure(
        "an error text with markup",
        "error",
        "<b>\u2028&",
        502,
        b'{"error":"Agent error: \\u003cb\\u003e\\u2028\\u0026"}',
    ),
    Failure("an empty error text", "error", "", 502, b'{"error":"Agent error: "}'),
    Failure("data that is no JSON", "ChatGptResponse", "fine", 502, rubbish("The answer is not a JSON object.")),
    Failure("data that is an array", "ChatGptResponse", "[]", 502, rubbish("The answer is not a JSON object.")),
    Failure(
        "a number as content",
        "ChatGptResponse",
        '{"content":1}',
        502,
        rubbish('\\"content\\" in the answer is not a string.'),
    ),
]

ANSWERS = [
    (
        "all five values are copied",
        '{"content":"C","error":"E","conversation_id":"V","response_id":"R","id":"I"}',
        b'{"id":"I","response_id":"R","conversation_id":"V","content":"C","error":"E"}',
    ),
    (
        "missing ones are empty",
        '{"response_id":"R","conversation_id":"V","content":"C"}',
        b'{"id":"","response_id":"R","conversation_id":"V","content":"C","error":""}',
    ),
    ("an empty object", "{}", b'{"id":"","response_id":"","conversation_id":"","content":"","error":""}'),
    ("null", "null", b'{"id":"","response_id":"","conversation_id":"","content":"","error":""}'),
    (
        "unknown keys and null are left out",
        '{"content":"C","id":null,"more":[{"a":1e400}]}',
        b'{"id":"","response_id":"","conversation_id":"","content":"C","error":""}',
    ),
    (
        "escapes",
        '{"content":"<script>&\u2028\u2029\\u2028\\" \\\\ \\u0007 \u00e9\U0001f600"}',
        b'{"id":"","response_id":"","conversation_id":"","content":"\\u003cscript\\u003e\\u0026\\u2028\\u2029\\u2028'
        b'\\" \\\\ \\u0007 \xc3\xa9\xf0\x9f\x98\x80","error":""}',
    ),
]

# Bodies that the reference server forgives, and what the agent gets as content.
FORGIVEN = [
    ("null", b"null", ""),
    ("an empty object", b"{}", ""),
    ("null as a value", b'{"content":null}', ""),
    ("null leaves an earlier value", b'{"content":"A","content":null}', "A"),
    ("unknown keys", b'{"content":"A","model":{"b":[1,2]},"":0}', "A"),
    ("other letter case", b'{"CONTENT":"A"}', "A"),
    ("a long s and a Kelvin sign are letters too", '{"content":"A","me\u017fsage_id":"M"}'.encode(), "A"),
    ("a key twice", b'{"content":"A","content":"B"}', "B"),
    ("a key twice in two cases", b'{"content":"A","Content":"B"}', "B"),
    ("a key twice in two cases, the plain one last", b'{"Content":"A","content":"B"}', "B"),
    ("an escaped key", b'{"\\u0063ontent":"A"}', "A"),
    ("a second document behind it", b'{"content":"A"}{"content":"B"}', "A"),
    ("bytes behind it", b'{"content":"A"}\x00\xff rubbish', "A"),
    ("blanks around it", b' \r\n\t{ "content" : "A" }\n', "A"),
    ("invalid UTF-8", b'{"content":"A\xffB\xc3"}', "A\ufffdB\ufffd"),
    ("an overlong form", b'{"content":"A\xc0\x80B"}', "A\ufffd\ufffdB"),
    ("a surrogate in UTF-8", b'{"content":"A\xed\xa0\x80B"}', "A\ufffd\ufffd\ufffdB"),
    ("a lone high surrogate", b'{"content":"A\\ud800B"}', "A\ufffdB"),
    ("a lone low surrogate", b'{"content":"A\\udc00B"}', "A\ufffdB"),
    ("surrogates in the wrong order", b'{"content":"A\\udc00\\ud800B"}', "A\ufffd\ufffdB"),
    ("a surrogate pair", b'{"content":"\\ud83d\\ude00"}', "\U0001f600"),
    ("huge numbers elsewhere", b'{"content":"A","n":1e999999,"m":' + b"9" * 5000 + b"}", "A"),
    ("NUL", b'{"content":"A\\u0000B"}', "A\0B"),
    ("an encoding in the content type", b'{"content":"A"}', "A"),
]

# Bodies that are no JSON to the reference server either.
NOT_JSON = [
    b'{"content":NaN}',
    b'{"content":"A","n":NaN}',
    b'{"content":"A","n":Infinity}',
    b'{"content":"A","n":-Infinity}',
    b'{"content":"A","n":01}',
    b'{"content":"A","n":1.}',
    b'{"content":"A","n":+1}',
    b'{"content":"A",}',
    b"{'content':'A'}",
    b'{content:"A"}',
    b'{"content":"A" // why\n}',
    b'{"content":"\\x41"}',
    b'{"content":"A\nB"}',
    b'{"content":"A\x00B"}',
    b'{"content":"A',
    b'\x00{"content":"A"}',
    b'\xa0{"content":"A"}',
    b'\xff\xfe{\x00"\x00',
    b"[" * 100_000,
    b'{"content":"A","n":' + b"[" * 100_000,
    b'{"n":' * 100_000,
    b"content=A",
    b'--x\r\nContent-Disposition: form-data; name="content"\r\n\r\nA\r\n--x--\r\n',
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV*\xce,\xa9T\xb2R",
]


def admin(name: str, request: str, status: int, reply: bytes, body: bytes = b"") -> Pair:
    """On an admin route: never cached, never for other origins."""
    headers = {"content-type": JSON, "cache-control": "no-store", "access-control-allow-origin": ""}
    return Pair(name, request, status, reply, body, {}, headers)


BAD_ADMIN_BODY = b'{"error":"Invalid request body"}'
BAD_ADMIN_KEY = b'{"error":"Invalid admin key"}'
DELETED = b'{"message":"User deleted"}'
ADMIN = [
    *(admin(f"{route}: empty body", route, 400, BAD_ADMIN_BODY) for route in (ADD, DELETE)),
    *(admin(f"{route}: bad JSON", route, 400, BAD_ADMIN_BODY, b"{") for route in (ADD, DELETE)),
    *(admin(f"{route}: array", route, 400, BAD_ADMIN_BODY, b"[]") for route in (ADD, DELETE)),
    *(admin(f"{route}: key no string", route, 400, BAD_ADMIN_BODY, b'{"admin_key":1}') for route in (ADD, DELETE)),
    *(admin(f"{route}: null", route, 401, BAD_ADMIN_KEY, b"null") for route in (ADD, DELETE)),
    *(admin(f"{route}: no key", route, 401, BAD_ADMIN_KEY, b"{}") for route in (ADD, DELETE)),
    *(admin(f"{route}: empty key", route, 401, BAD_ADMIN_KEY, b'{"admin_key":""}') for route in (ADD, DELETE)),
    *(admin(f"{route}: wrong key", route, 401, BAD_ADMIN_KEY, b'{"admin_key":"x"}') for route in (ADD, DELETE)),
    *(admin(f"{route}: user's token", route, 401, BAD_ADMIN_KEY, b'{"admin_key":"TOKEN"}') for route in (ADD, DELETE)),
    *(
        admin(f"{route}: key in the query only", f"{route}?admin_key=ADMIN-KEY", 401, BAD_ADMIN_KEY, b"{}")
        for route in (ADD, DELETE)
    ),
    admin("delete: unknown user", DELETE, 200, DELETED, b'{"admin_key":"ADMIN-KEY","user_id":"unknown"}'),
    admin("delete: no user", DELETE, 200, DELETED, b'{"admin_key":"ADMIN-KEY"}'),
    admin("delete: NUL", DELETE, 200, DELETED, b'{"admin_key":"ADMIN-KEY","user_id":"\\u0000"}'),
    admin("delete: number as user", DELETE, 400, BAD_ADMIN_BODY, b'{"admin_key":"ADMIN-KEY","user_id":1}'),
    admin("delete: other letter case", DELETE, 200, DELETED, b'{"Admin_Key":"ADMIN-KEY","USER_ID":"x"} and more'),
    admin("users: no key", USERS, 401, BAD_ADMIN_KEY),
    admin("users: empty key", f"{USERS}?admin_key=", 401, BAD_ADMIN_KEY),
    admin("users: wrong key", f"{USERS}?admin_key=x", 401, BAD_ADMIN_KEY),
    admin("users: user's token", f"{USERS}?admin_key=TOKEN", 401, BAD_ADMIN_KEY),
    admin("users: other letter case", f"{USERS}?Admin_Key=ADMIN-KEY", 401, BAD_ADMIN_KEY),
    admin("users: right and wrong key", f"{USERS}?admin_key=ADMIN-KEY&admin_key=x", 401, BAD_ADMIN_KEY),
    admin("users: wrong and right key", f"{USERS}?admin_key=x&admin_key=ADMIN-KEY", 401, BAD_ADMIN_KEY),
    admin("users: half the key", f"{USERS}?admin_key=ADMIN-KEY%00", 401, BAD_ADMIN_KEY),
    admin("users: broken UTF-8", f"{USERS}?admin_key=%ff%fe", 401, BAD_ADMIN_KEY),
]

NOT_FOUND = b"404 page not found"


def plain(request: str, status: int, reply: bytes, **headers: str) -> Pair:
    """A route whose reply is text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Pair(request, request, status, reply, headers={"content-type": TEXT} | named)


def moved(request: str, status: int, location: str) -> Pair:
    return Pair(request, request, status, b"", headers={"location": location, "access-control-allow-origin": ""})


ROUTES = [
    plain("GET /health", 200, b"OK"),
    plain("HEAD /health", 200, b"", content_length="2"),
    plain("GET /client/register", 400, b"Bad Request\n", sec_websocket_version="13"),
    *(plain(f"{method} /nowhere", 404, NOT_FOUND) for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE")),
    *(plain(f"{method} /health", 404, NOT_FOUND) for method in ("POST", "OPTIONS", "DELETE", "TRACE")),
    *(plain(f"{method} /api/ask", 404, NOT_FOUND) for method in ("GET", "PUT", "PATCH", "DELETE")),
    *(plain(f"{method} /api/connections", 404, NOT_FOUND) for method in ("POST", "DELETE")),
    *(plain(f"{method} /admin/users/add", 404, NOT_FOUND) for method in ("GET", "OPTIONS", "PUT")),
    *(plain(f"{method} /admin/users/delete", 404, NOT_FOUND) for method in ("GET", "DELETE")),
    *(plain(f"{method} /admin/users", 404, NOT_FOUND) for method in ("POST", "OPTIONS", "DELETE")),
    plain("HEAD /nowhere", 404, b"", content_length="18"),
    plain("HEAD /api/ask", 404, b""),
    *(plain(f"GET {path}", 404, NOT_FOUND) for path in ("/%ff%fe", "//api/ask", "/API/ASK", "/api")),
    *(plain(f"GET {path}", 404, NOT_FOUND) for path in ("/..%2f..%2fetc/passwd", "/%00", "/.env", "/api/ask/x")),
    moved("GET /health/", 301, "/health"),
    moved("HEAD /health/", 301, "/health"),
    moved("GET /health/?a=1&b=%2F", 301, "/health?a=1&b=%2F"),
    moved("GET /health%2f", 301, "/health"),
    moved("GET /api/connections/", 301, "/api/connections"),
    moved("GET /admin/users/?admin_key=x", 301, "/admin/users?admin_key=x"),
    moved("GET /client/register/", 301, "/client/register"),
    moved("POST /api/ask/", 307, "/api/ask"),
    moved("POST /api/ask/?x=%0d%0aSet-Cookie:y", 307, "/api/ask?x=%0d%0aSet-Cookie:y"),
    moved("OPTIONS /api/ask/", 307, "/api/ask"),
    moved("POST /admin/users/add/", 307, "/admin/users/add"),
    moved("POST /admin/users/delete/", 307, "/admin/users/delete"),
]
