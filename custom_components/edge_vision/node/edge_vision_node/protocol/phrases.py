"""Credentials without a key: in sentences, on command lines, and encoded.

Each pattern starts at the start of a word, and its repetitions are limited or possessive, so that
the time is proportional to the length of the text.
"""

from __future__ import annotations

import base64
import binascii
import re

MASK = "****"

_STRONG = r"pass(?:word|wd|wort|phrase|code)|pwd|psk|contraseña|mot de passe|wachtwoord"
_WEAK = r"(?:access |auth |refresh )?token|api[ -]?key|access[ -]?key|secret|pin(?: code)?|otp"
# "The password for the camera is …", and "with password …".
_SAYS = re.compile(
    rf"(?<![\w-])(?:({_STRONG})|{_WEAK})(?:\s(?:for|of|to)\s(?:the\s)?\S{{1,60}})?"
    r"\s(?:is|was|equals|ist|war|lautet|est|es)\s?:?\s?(?=\S)",
    re.IGNORECASE,
)
_WITH = re.compile(
    rf"(?<![\w-])(?:with|using|by)\s(?:the\s)?({_STRONG})\s(?=\S)|(?<![\w-])identified\sby\s(?=\S)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\S++")
_SENTENCE_END = re.compile(r"[.;,!?](?=\s|$)|$", re.MULTILINE)
# Words about a password that are not the password.
_ORDINARY = frozenset(
    (
        *("a", "accepted", "already", "also", "always", "an", "and", "as", "asked", "at"),
        *("auth", "authentication", "being", "blank", "by", "case", "cached", "changed"),
        *("correct", "damaged", "default", "different", "disabled", "either", "empty", "encrypted"),
        *("equal", "expected", "expired", "failed", "failing", "false", "file", "for", "from"),
        *("given", "gone", "hashed", "hidden", "ignored", "in", "incorrect", "invalid", "it"),
        *("its", "kept", "known", "left", "locked", "long", "login", "longer", "lost", "malformed"),
        *("masked", "missing", "needed", "neither", "never", "no", "none", "not", "nothing"),
        *("now", "null", "of", "ok", "old", "on", "only", "optional", "or", "out", "prompt"),
        *("protected", "protection", "read", "recent", "refused", "rejected", "removed"),
        *("required", "requested", "reset", "right", "saved", "secured", "sent", "set", "shorter"),
        *("so", "still", "stored", "supported", "taken", "that", "the", "there", "this"),
        *("to", "too", "true", "unchanged", "undefined", "unknown", "unset", "used", "valid"),
        *("verification", "wanted", "weak", "what", "where", "wrong", "yet", "you", "your"),
        *("abgelaufen", "falsch", "leer", "nicht", "richtig", "ungültig", "unbekannt"),
    )
)
_PAIR = re.compile(
    r"(?<![\w-])((?:login|user(?:name)?)\s++)([^\s=:]{1,64}+)"
    r"(,?\s(?:and\s)?(?:password|passwd)\s++)(\S++)"
    r"|(?<![\w-])((?:user(?:name)?\s?(?:/|and)\s?pass(?:word)?|credentials?|login)[\s:=]++)"
    r"([^\s:/]{1,64}+[:/]\S++)",
    re.IGNORECASE,
)
# FTP and similar protocols, as shown in traces.
_SENT = re.compile(r"(?<=> )(USER|PASS|AUTH (?:LOGIN|PLAIN)) (\S++)")
_USER_OPTION = re.compile(r"(?<!\S)(-u\s*+)([^\s\-]\S*+)")
_PASSWORD_OPTION = re.compile(r"(?<!\S)(-P\s*+)(?!\d++(?!\S))([^\s\-]\S*+)")
_ANY_PASSWORD_OPTION = re.compile(r"(?<!\S)(-P\s*+)([^\s\-]\S*+)")
_ATTACHED = re.compile(r"(?<!\S)(-p)([^\s\-]\S*+)")
_SSHPASS = re.compile(r"(sshpass\s++-p\s*+)(\S++)")
_WIFI = re.compile(r"(WIFI:(?:[ST]:[^;\s]{0,64};){1,3}P:)([^;]++)")
_BASE64 = re.compile(r"(?<![\w+/=-])[\w+/-]{6,400}+={0,2}(?![\w+/=-])", re.ASCII)
_LOGIN = re.compile(rb"[\w.@-]{1,64}:[\x20-\x7e]+")


def mask_phrases(text: str) -> str:
    """Return a text with the credentials in sentences and command lines masked."""
    text = _PAIR.sub(_mask_pair, text)
    text = _spoken(text, _SAYS, to_the_end=True)
    text = _spoken(text, _WITH, to_the_end=False)
    text = _SENT.sub(rf"\1 {MASK}", text)
    text = _options(text)
    text = _WIFI.sub(rf"\1{MASK}", text)
    return _BASE64.sub(_mask_base64, text)


def _mask_pair(match: re.Match[str]) -> str:
    if match[5] is not None:
        return f"{match[5]}{MASK}"
    if _is_ordinary(match[2]) or _is_ordinary(match[4]):
        return match[0]
    return f"{match[1]}{MASK}{match[3]}{MASK}"


def _is_ordinary(word: str) -> bool:
    bare = word.strip("\"'`.,;:!?()[]").partition("'")[0].lower()
    return bare in _ORDINARY


def _spoken(text: str, head: re.Pattern[str], *, to_the_end: bool) -> str:
    """Mask the text after a head; `to_the_end`: up to the end of the sentence, including spaces."""
    parts: list[str] = []
    at = 0
    for match in head.finditer(text):
        begin = match.end()
        word = _WORD.match(text, begin)
        if match.start() < at or word is None:
            continue
        if text[begin] in "\"'`":
            end = text.find(text[begin], begin + 1)
            begin, end = begin + 1, end if end >= 0 else len(text)
        elif _is_ordinary(word[0]):
            continue
        elif to_the_end and match[1] is None and not re.search(r"\d", word[0]):
            continue  # "the token is ...": tokens contain digits, other words do not
        elif to_the_end and match[1] is not None:
            found = _SENTENCE_END.search(text, word.end())
            end = found.start() if found else len(text)
        else:
            end = word.end()
        parts += (text[at:begin], MASK)
        at = end
    return "".join((*parts, text[at:]))


def _options(text: str) -> str:
    """Mask logins in short options of tools."""
    text = _SSHPASS.sub(rf"\1{MASK}", text)
    tool = text.lower()
    if "mysql" in tool or "mariadb" in tool:
        text = _ATTACHED.sub(rf"\1{MASK}", text)
        text = _USER_OPTION.sub(rf"\1{MASK}", text)
    elif "mosquitto" in tool or "mqtt" in tool:
        text = _ANY_PASSWORD_OPTION.sub(rf"\1{MASK}", text)
        text = _USER_OPTION.sub(rf"\1{MASK}", text)
    elif _PASSWORD_OPTION.search(text) and _USER_OPTION.search(text):
        text = _PASSWORD_OPTION.sub(rf"\1{MASK}", text)
        text = _USER_OPTION.sub(rf"\1{MASK}", text)
    return text


def _mask_base64(match: re.Match[str]) -> str:
    """Mask `user:password` in the encoding of basic authentication."""
    plain = match[0].rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return match[0]
    return MASK if _LOGIN.fullmatch(decoded) else match[0]
