"""Texts without credentials, for logs, errors and diagnostics of hub and node.

Texts come from cameras, models and libraries and may be hostile. They are truncated first, and
every step reads them once: patterns do not start inside a run of characters that was already read
(possessive quantifiers after a lookbehind), and manual searches go from left to right. The time is
therefore proportional to the length.

If in doubt, too much is removed rather than too little.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from .phrases import MASK, mask_phrases

MOST_CHARS = 4000
_CUT = "…"

# Suffixes of keys, without "-" and "_", in lowercase; and words that are only complete keys.
_SECRET_ENDS = (
    *("token", "password", "passwd", "passwort", "passphrase", "passcode", "pwd", "psk", "secret"),
    *("apikey", "accesskey", "secretkey", "privatekey", "sharedkey", "authkey", "masterkey"),
    *("encryptionkey", "signingkey", "accountkey", "credential", "credentials", "signature"),
    *("authsig", "authorization", "username", "loginuse", "loginpas", "sessionid", "jwt"),
    *("webhookid", "cookie", "userid", "loginname", "authcode", "pincode", "passkey", "cnonce"),
    *("contraseña", "contrasena", "senha", "hasło", "haslo", "wachtwoord", "пароль", "密码"),
)
# Words that make a key with any text before and after them.
_SECRET_PIECES = ("password", "passwd", "passwort", "passphrase", "secret", "credential")
_SECRET_WORDS = frozenset(
    {
        *("auth", "pass", "user", "usr", "login", "key", "sig", "pin", "otp", "sid", "nonce", "pw"),
        *("pas", "wpa", "bearer", "session", "account"),
    }
)
_SECRET_PARTS = re.compile(r"(?:^|[_-])(?:pass|user|usr|pw|auth|login|pin|otp|sig)$")
# Values that may contain spaces without quotes.
_SENTENCES = (
    "password",
    "passwd",
    "passwort",
    "passphrase",
    "passcode",
    "pwd",
    "psk",
    "pass",
    "wpa",
)

# Quotes, also as written in HTML and in addresses.
_QUOTE = r"(?:[\"'`]|&quot;|&\#3[49];|%22|%27)"
# Letters, digits, "-" and "_" escaped in an address.
_ESCAPED = r"%(?:2[dD]|3\d|[46][1-9a-fA-F]|[57][\daA]|5[fF])"
# Other characters before the start of a key.
_SIGN = r"%(?:2[\da-cA-CeEfF]|3[a-fA-F]|40|5[b-eB-E]|60|7[b-eB-E])"
_SIGNS = r"=>|->|<-|:=|==|[:=\uff1a\uff1d]|[\u2013\u2014]\s"
_SEPARATOR = rf"(?:{_SIGNS}|&\#(?:58|61);|&(?:colon|equals);|(?<=\\)u003[aAdD])"
# The key of a setting, its quotes, and the text between it and its value.
_SETTING = re.compile(
    rf"(?:(?<![\w%-])|(?<={_SIGN}))((?:[\w-]|{_ESCAPED})++)"
    rf"(\\*+{_QUOTE}?+\*{{0,2}}+(?:\s*+{_SEPARATOR}\s*+|%(?:25){{0,3}}3[aAdD]"
    rf"|(?:,\s?|\s)\s*+\\*+{_QUOTE}?+[vV]alue\\*+{_QUOTE}?+\s?[:=]\s*+|,\s?(?=b?\\*+[\"'])))"
)
_OPENING = re.compile(rf"[bBrRuUfF]{{0,2}}(\\*+)([\"']{{3}}|{_QUOTE})")
# A multiline text in YAML.
_BLOCK = re.compile(r"[|>][-+\d]{0,2}[ \t]{0,9}\n")
_BARE = re.compile(r"[^\s&\"']++(?:[\"'](?=\w)[^\s&\"']++)*+")
_NEXT_SETTING = re.compile(r"(?<![\s,;])[\s,;]++[\w-]++\\*+[\"']?+\s?[=:]|[&\"'\n]")
_NOTHING = frozenset({"", "none", "null", "true", "false"})
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_HEADER = re.compile(
    r"(?<![\w-])([\w-]{0,30}(?:authorization|cookie)[\w-]{0,12}|www-authenticate"
    r"|sec-websocket-protocol|x-[\w-]{0,20}(?:key|token|auth|access))(\\*[\"']?(?:\s*+[:=]\s*+|,\s?(?=b?\\*[\"']))).*+",
    re.IGNORECASE,
)
_SCHEME = re.compile(
    r"(?<!\w)(?:(bearer|basic|digest)\s++[\w+/=.~-]{8,}+"
    r"|(token|api-?key)\s++(?=[\w+/=.~-]{0,40}\d)[\w+/=.~-]{16,}+)",
    re.IGNORECASE,
)
_DIGEST = re.compile(r"(?<!\w)(response\\*+[\"']?\s?[=:]\s?\\*+[\"']?)[0-9a-fA-F]{32,}+")
_OPTION = re.compile(r"(?<!\S)(--?([A-Za-z][\w-]*+)\s++)(?![-\s])(\S++)")
# A login as an argument of curl and similar tools.
_LOGIN = re.compile(r"(?<!\S)(-u\s*+)(?:\"[^\"]*+\"?|'[^']*+'?|[^\s:]++:\S++)")
_ELEMENT = re.compile(
    r"(?:<|&lt;)(?:[\w-]++:)?([\w-]++)([^<>&]*+)(?:>|&gt;)(?:<!\[CDATA\[)?+([^<&]++)"
)
_KNOWN = re.compile(
    r"(?:(?<![\w-])|(?<=%2[027])|(?<=%3[dDaA])|(?<=_))(?:eyJ[\w-]{8,}+\.[\w.-]++"
    r"|(?:hf|gh[oprsu]|github_pat|glpat|glsa|npm|pypi|[srp]k|xox[abp])[_-][\w-]{16,}+"
    r"|A[KS]IA[A-Z\d]{16}|AIza[\w-]{35}|ya29\.[\w-]{16,}+|(?:bot)?\d{6,12}:[\w-]{30,}+)"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*+",
    re.DOTALL,
)
_USER = re.compile(r"[^\s/?#@\"':]*+:")
_PORT = re.compile(r"\d{1,5}(?:[\s/?#,;:.\"')\]}]|$)")
_RUN = re.compile(r"\S++")
_URL_END = re.compile(r"[\s\"'<>|\\]|$")
_STREAM = re.compile(r"(?:rtsps?|rtmps?|srt|rtp)$", re.IGNORECASE)
_QUERY = re.compile(r"\?(?=[\w%.\[\]-]++=)")
_RANDOM = re.compile(r"(?=[^/]*\d)(?=[^/]*[A-Za-z])[\w.~+=-]{16,}+$|[\w~+=-]{24,}+$")
_HOST = re.compile(r"[^\W_]|\[[\da-fA-F:]")
_BEFORE_LOGIN = "\"'<>([{,;|=`"
_COLONS = (":", "%3a", "%253a")
_ATS = ("@", "%40", "%2540", "&#64;", "&commat;", "\\u0040")
_AUTHORITY = re.compile(r"[^\s/?\"'<>]*+")
_MOST_PARTIAL = 256
_CONTROL = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


def is_secret(key: str) -> bool:
    """Return whether a key is the name of a credential."""
    if not key.isascii():
        key = unicodedata.normalize("NFKC", key)
    plain = key.strip("-_").lower()
    numbered = plain.rstrip("0123456789_-")
    joined = numbered.replace("_", "").replace("-", "")
    return (
        plain in _SECRET_WORDS
        or joined.endswith(_SECRET_ENDS)
        or _SECRET_PARTS.search(plain) is not None
        or _SECRET_PARTS.search(numbered) is not None
        or any(piece in joined for piece in _SECRET_PIECES)
    )


def redact(text: str, most: int = MOST_CHARS) -> str:
    """Return a text without credentials: in addresses, queries, headers, settings and reprs.

    Long texts are truncated, and unprintable characters escaped, so that lines are not split.
    """
    cut = len(text) > most
    if cut:
        text = text[:most]
        # The meaning of a truncated part is unknown.
        partial = len(text) - len(text.rstrip()) or len(text.rsplit(maxsplit=1)[-1])
        text = text[:-partial] if partial <= _MOST_PARTIAL else text
    text = _KNOWN.sub(MASK, text)
    text = _addresses(text, cut=cut)
    text = _RUN.sub(_mask_login, text)
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    text = _SCHEME.sub(lambda found: f"{found[1] or found[2]} {MASK}", text)
    text = _DIGEST.sub(rf"\1{MASK}", text)
    text = _LOGIN.sub(rf"\1{MASK}", text)
    text = _ELEMENT.sub(_mask_element, text)
    text = _OPTION.sub(_mask_option, text)
    text = _settings(text)
    text = mask_phrases(text)
    text = _CONTROL.sub(_escape, text)
    return f"{text}{_CUT}" if cut else text


def _escape(match: re.Match[str]) -> str:
    return "\t" if match[0] == "\t" else match[0].encode("unicode_escape").decode("ascii")


def _mask_element(match: re.Match[str]) -> str:
    if not is_secret(match[1]) or not match[3].strip():
        return match[0]
    return f"{match[0][: match.start(3) - match.start()]}{MASK}"


def _mask_option(match: re.Match[str]) -> str:
    return f"{match[1]}{MASK}" if is_secret(match[2]) and len(match[2]) > 1 else match[0]


# --- Settings ---------------------------------------------------------------------------------


def _settings(text: str) -> str:
    """Mask the values of keys that name credentials."""
    parts: list[str] = []
    at = 0
    for match in _SETTING.finditer(text):
        key = unquote(match[1]) if "%" in match[1] else match[1]
        if match.start() >= at and is_secret(key):
            begin, end = _value(text, match.end(), key)
            # The name of the next value: {"key": "password", "value": ...}.
            named = key.lower() == "key" and is_secret(text[begin:end])
            if begin < end and not named:
                parts += (text[at:begin], MASK)
                at = end
    return "".join((*parts, text[at:]))


def _value(text: str, at: int, key: str) -> tuple[int, int]:
    """Return start and end of the value at a position."""
    if opening := _OPENING.match(text, at):
        begin = opening.end()
        return begin, _closing(text, begin, opening[2], len(opening[1]))
    if _BLOCK.match(text, at):
        return at, len(text)
    if text[at : at + 1] in _BRACKETS and at < len(text):
        return at + 1, _bracket(text, at)
    bare = _BARE.match(text, at)
    if bare is None or bare[0].rstrip(",;)]}").lower() in _NOTHING:
        return at, at
    if key.lower().endswith(_SENTENCES):
        following = _NEXT_SETTING.search(text, bare.end())
        return at, following.start() if following else len(text)
    return at, bare.end()


def _closing(text: str, at: int, quote: str, backslashes: int) -> int:
    """Return the end of a quotation that was opened with this number of backslashes."""
    opened = at
    while (found := text.find(quote, at)) >= 0:
        before = found
        while before > at and text[before - 1] == "\\":
            before -= 1
        escaped = found - before
        if found > opened and not backslashes and text.startswith(2 * quote, found):
            at = found + 2 * len(quote)  # escaped quote in YAML
            continue
        if escaped == backslashes if backslashes else escaped % 2 == 0:
            return before
        at = found + len(quote)
    return len(text)


def _bracket(text: str, at: int) -> int:
    """Return the position of the closing bracket, ignoring quoted text."""
    closing = [_BRACKETS[text[at]]]
    at += 1
    while at < len(text):
        char = text[at]
        if char in "\"'":
            at = _closing(text, at + 1, char, 0)
        elif char in _BRACKETS:
            closing.append(_BRACKETS[char])
        elif char == closing[-1]:
            closing.pop()
            if not closing:
                return at
        at += 1
    return len(text)


# --- Addresses --------------------------------------------------------------------------------


def _addresses(text: str, *, cut: bool) -> str:
    """Mask logins, queries, and secret paths in addresses with a scheme."""
    parts: list[str] = []
    done = run_end = 0
    last_at = next_at = -1
    while (found := text.find("://", done)) >= 0:
        begin = found + 3
        if begin > run_end:
            run = _RUN.match(text, begin)
            run_end = run.end() if run else begin
            last_at = text.rfind("@", begin, run_end)
        parts.append(text[done:begin])
        host = begin
        if last_at >= begin:
            parts.append(MASK)
            host = last_at
        elif (escaped := _escaped_at(text, begin)) > begin:
            parts.append(MASK)
            host = escaped
        elif (user := _USER.match(text, begin)) and not _PORT.match(text, user.end()):
            # A password with spaces.
            if next_at < begin:
                next_at = text.find("@", begin)
                next_at = len(text) if next_at < 0 else next_at
            if next_at < len(text) or cut:
                parts.append(MASK)
                host = next_at
        end = _URL_END.search(text, host)
        done = end.start() if end else len(text)
        parts.append(
            _place(text[host:done], stream=_STREAM.search(text[max(0, found - 6) : found]))
        )
    return "".join((*parts, text[done:]))


def _escaped_at(text: str, begin: int) -> int:
    """Return the position of the escaped "@" after the login of an address, or -1."""
    authority = _AUTHORITY.match(text, begin)
    assert authority is not None  # nothing is one, too
    lower = authority[0].lower()
    first, last = _signs(lower)
    return begin + last if 0 <= first < last else -1


def _signs(lower: str) -> tuple[int, int]:
    """Return the positions of the first colon and the last "@", escaped or not, or -1."""
    colons = [at for sign in _COLONS if (at := lower.find(sign)) >= 0]
    return min(colons, default=-1), max(lower.rfind(sign) for sign in _ATS)


def _place(address: str, *, stream: object) -> str:
    """Return host and path without secrets."""
    host = re.match(r"[^/?#]*+", address)
    assert host is not None  # nothing is one, too
    rest = address[host.end() :]
    if len(rest) < 2:
        return address
    if stream:
        # For many cameras, the path of a stream is secret, or contains the login.
        return f"{host[0]}/{MASK}"
    path, mark, query = rest, "", ""
    for sign in "?#":
        before, found, after = path.partition(sign)
        if found:
            path, mark, query = before, found, after
    # A password in a query can have any name.
    return f"{host[0]}{_path(path)}{mark}{MASK if query else ''}"


def _path(path: str) -> str:
    segments = path.split("/")
    secret = 0  # so many of the next ones
    for index, segment in enumerate(segments):
        if secret or any(sign in segment for sign in ":@=") or _RANDOM.match(segment):
            segments[index] = MASK if segment else segment
            secret = max(0, secret - 1)
        elif segment and (is_secret(segment) or segment == "webhook"):
            secret = 2
    return "/".join(segments)


def _mask_login(match: re.Match[str]) -> str:
    """Mask user:password@host and addresses with escaped characters in a word."""
    run = match[0]
    if "://" not in run:
        lower = run.lower()
        first, last = _signs(lower)
        if 0 <= first < last:
            sign = next(sign for sign in _ATS if lower.startswith(sign, last))
            end = last + len(sign)
            if end == len(run) or _HOST.match(run, end):
                begin = max(run.rfind(sign, 0, first) for sign in _BEFORE_LOGIN) + 1
                run = f"{run[:begin]}{MASK}{run[last:]}"
    query = _QUERY.search(run)
    return run if query is None else f"{run[: query.end()]}{MASK}"
