"""Credentials of all forms are removed from texts, in time proportional to their length."""

from __future__ import annotations

import json
import time

import pytest
from edge_vision_node.protocol import redact

# Everything in double angle brackets must be removed.
SECRET = [
    # Addresses
    "open rtsp://<<admin>>:<<hunter2>>@192.168.1.9/s failed",
    "open rtsp://<<admin>>:<<p@ss/w0rd>>@cam:554/s?a=b",
    "open rtsp://<<admin>>:<<it's me>>@cam:554 failed",
    "open rtsp://<<admin>>:<<12345>>67@cam:554 failed",
    "https://<<t0psecret>>@cam/stream",
    "http://cam/snap.cgi?loginuse=<<bob>>&loginpas=<<hunter2>>",
    "http://cam/x#access_token=<<abcdef>>",
    "GET /snap.cgi?loginuse=<<bob>>&loginpas=<<hunter2>> failed",
    "RTSP://10.0.0.2:554/user=<<admin>>_password=<<tlJwpbo6>>_channel=1_stream=0.sdp",
    "http://10.0.0.2/user=<<admin>>_password=<<tlJwpbo6>>_channel=1",
    "http://cam/login/<<bob>>/<<hunter2>>/snap.jpg",
    "http://cam/api/token/<<abc>>/snap.jpg",
    "http://cam/proxy/<<k3yk3yk3yk3yk3yk3y>>/snap.jpg",
    "http://cam/<<bob>>:<<hunter2>>@x/snap.jpg",
    "read rtsps://10.0.0.2:7441/<<AbCdEf>>: timeout",
    "two: http://cam/a,rtsp://<<bob>>:<<hunter2>>@cam/b",
    # Without a scheme
    "cannot resolve <<admin>>:<<hunter2>>@192.168.1.9:554",
    "url=<<admin>>:<<hun/ter2>>@cam.local/stream",
    '{"source": "<<admin>>:<<hunter2>>@cam"}',
    "ffmpeg:<<admin>>:<<p@ss>>@cam#video=copy",
    "rtsp%3A%2F%2F<<admin>>%3A<<hunter2>>%40cam%2Fs",
    "rtsp%253A%252F%252F<<admin>>%253A<<hunter2>>%2540cam%252Fs",
    "<<admin>>:<<hunter2>>@[fe80::1]:554/s",
    "rtsp://<<admin>>:<<hunter2>>@[fe80::1]:554/s",
    "https://ha/api/webhook/<<abc>>",
    # Headers
    "Authorization: Bearer <<abcdef0123456789>>",
    "Authorization: Basic <<YWRtaW46aHVudGVyMg==>> and more",
    "headers={'Authorization': 'Basic <<YWRtaW46aHVudGVyMg==>>'}",
    "[(b'authorization', b'Digest username=\"<<bob>>\", response=\"<<abcdef>>\"')]",
    "> proxy-authorization: <<x y z>>",
    "Set-Cookie: session=<<abcdef>>; Path=/",
    "X-Api-Key: <<abcdef>>",
    "X-Auth-Token: <<abcdef>>",
    "sent Bearer <<abcdef0123456789>> to it",
    "sent Token <<0123456789abcdef0123>> to it",
    'realm="x", cnonce="<<n0nce>>", response="<<0123456789abcdef0123456789abcdef>>"',
    # Settings, with and without quotes
    "password=<<hunter2>>",
    "password: <<hunter2>>",
    "PASSWORD = <<hunter2>>",
    "RTSP_PASSWORD=<<hunter2>> python",
    "mqtt.password=<<hunter2>>",
    "password='<<hunter two, and more>>' x",
    'password="<<hunter \\" two>>" x',
    "password=<<it's>> x=1",
    "passphrase=<<correct horse battery staple>>",
    "passphrase: <<correct horse>>, ssid: home",
    "psk=<<abc def>>",
    'wpa_psk="<<abc def>>"',
    "access_key=<<AKIAIOSFODNN7>>",
    "secret-access-key: <<abc/def+ghi>>",
    "aws_secret_access_key => <<abc>>",
    "api-key=<<abc>>",
    "apiKey: <<abc>>",
    "client_secret=<<abc>>",
    "refresh_token=<<abc.def-ghi>>",
    "private_key=<<abc>>",
    "pwd=<<abc>>&user=<<bob>>",
    "auth=('<<bob>>', '<<hunter)2>>')",
    "BasicAuth(login='<<bob>>', password='<<hunter2>>', encoding='latin1')",
    "Login(username='<<bob>>', password='<<it\\'s>>')",
    '{"token": "<<abcdef>>", "x": 1}',
    '{"token":"<<abc,def}>>","x":1}',
    '{\\"password\\": \\"<<hunter two>>\\"}',
    "('password', '<<hunter2>>')",
    "{'password': b'<<hunter2>>'}",
    "password%3D<<hunter2>>",
    "login=<<bob>>",
    "usr: <<bob>>",
    "ftp --password <<hunter2>> --verbose",
    "curl --user <<bob:hunter2>> x",
    "curl -u <<admin>>:<<hunter2>> http://cam/",
    "curl -u '<<admin:hunter 2>>' http://cam/",
    "curl -uadmin:<<hunter2>> http://cam/",
    "sid=<<abcdef>>",
    "password1=<<abc>>",
    "pass_2: <<abc>>",
    "rtsp_password_main=<<abc>>",
    'passwords: ["<<abc>>", "<<def>>"]',
    "userid=<<bob>>",
    "account=<<bob>>",
    "loginName: <<bob>>",
    "пароль: <<hunter2>>",
    "password\uff1a<<hunter2>>",
    "token -> <<abc>>",
    'password = """<<two words>>"""',
    "password: '<<it''s it>>' x",
    '{"name": "password", "value": "<<hunter2>>"}',
    '{"key": "password", "value": "<<hunter2>>"}',
    '<param name="password" value="<<hunter2>>"/>',
    "{&quot;password&quot;: &quot;<<hunter two>>&quot;}",
    "%22password%22%3A%22<<hunter2>>%22",
    # Documents and known keys
    "<Password>  <<hunter2>></Password>",
    '<wsse:Password Type="x#PasswordText"><<hunter2>></wsse:Password>',
    "<tt:Username><<bob>></tt:Username>",
    "<Password><![CDATA[<<hunter2>>]]></Password>",
    "&lt;Password&gt;<<hunter2>>&lt;/Password&gt;",
    "github_pat_<<11ABCDEFG0abcdefghijk_lmnop>>",
    "<<AKIAIOSFODNN7EXAMPLE>>",
    "got <<eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln>> back",
    "hub said <<hf_AbCdEfGhIjKlMnOpQrSt>>",
    "-----BEGIN RSA PRIVATE KEY----- <<MIIEow>>",
    # Arguments of tools
    "mosquitto_pub -h cam -u <<bob>> -P <<hunter2>> -t x",
    "mosquitto_sub -P <<12345>> -t x -u <<bob>>",
    "mosquitto_pub --username <<bob>> --pw <<hunter2>>",
    "mqtt sub -u<<bob>> -P<<hunter2>>",
    "failed: -u <<bob>> -P <<x1y2>>",
    "sshpass -p <<hunter2>> ssh cam",
    "sshpass -p<<hunter2>> ssh cam",
    "mysql -u <<root>> -p<<hunter2>> db",
    "mariadb-dump -u<<root>> -p<<hunter2>> db",
    "plink -pw <<hunter2>> cam",
    "--password=<<x1>>",
    "-password:<<x1>>",
    "app /user:<<bob>> /pass:<<x1>>",
    "curl --cookie <<abc=def>> -H 'Authorization: Basic <<YTpi>>'",
    "IDENTIFIED BY '<<hunter2>>'",
    "> PASS <<hunter2>>",
    "WIFI:S:home;T:WPA;P:<<hunter 2>>;;",
    # Sentences
    "the password is <<hunter2>>",
    "Password is: <<hunter2>>",
    "password was '<<hunter two>>'",
    "the password for the camera is <<Secret, and more>>. Next",
    "Passwort ist <<hunter2>>",
    "your PIN is <<1234>>",
    "the token is <<a1b2c3d4e5>>",
    "logged in with password <<hunter2>>",
    'using the password "<<hunter two>>"',
    "login <<bob>> password <<hunter2>>",
    "machine cam login <<bob>> password <<hunter2>>",
    "username/password <<bob>>/<<hunter2>>",
    "credentials <<bob>>:<<hunter2>>",
    # Headers in all spellings
    "HTTP_AUTHORIZATION=<<Basic>> <<YTpiYw==>>",
    "authorization_header: <<abc>> <<def>>",
    "AUTHORIZATION : <<abc>> <<def>>",
    "X-Forwarded-Authorization: <<abc>> <<def>>",
    "HTTP_COOKIE: <<a1=b1>>; <<c1=d1>>",
    "Cookie2: <<a1=b1>>",
    "cookies: <<a1=b1>>; <<c1=d1>>",
    "x-ha-access: <<abc>>",
    "sec-websocket-protocol: <<x1.abc>>",
    "authorization=Bearer%20<<abcdef012345>>",
    # Logins in unusual places
    "<<admin>>:<<hunter2>>@",
    "//<<admin>>:<<hunter2>>@cam/share",
    "<<admin>>:<<hunter2>>%40cam",
    "<<admin>>%3A<<hunter2>>@cam",
    "rtsp://<<admin>>:<<hunter2>>%40cam/s",
    "rtsp://<<admin>>%3A<<hunter2>>@cam/s",
    "<<admin>>:<<hunter2>>&#64;cam",
    "<<admin>>:<<hunter2>>\\u0040cam",
    "rtsp://<<admin>>:<<hunter2>>\\u0040cam/s",
    "rtsp:\\/\\/<<admin>>:<<hunter2>>@cam\\/s",
    # Keys in any case and encoding
    "/snap?PassWord%3D<<hunter2>>",
    "a=1&pass%77ord=<<hunter2>>",
    "a=1&%50ASS=<<hunter2>>",
    "a=1;passwd=<<hunter2>>",
    "password\\u003d<<hunter2>>",
    "password&#61;<<hunter2>>",
    "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff1d<<hunter2>>",
    "`password`: `<<hunter2>>`",
    "**password**: <<hunter2>>",
    "password <- <<hunter2>>",
    'password == "<<hunter2>>"',
    "password \u2013 <<hunter2>>",
    "password: >-\n  <<hunter2>>",
    # Encoded, and recognized by their form
    "got %22<<eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln>>%22",
    "tok_<<eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln>>",
    "sent <<YWRtaW46aHVudGVyMg==>> to it",
    "auth <<YWRtaW46aHVudGVyMg>> to it",
    "BASIC:<<YWRtaW46aHVudGVyMg==>>",
    "bot<<123456789:AAEhBOweik6ad6PsVgC5lb4dLbDkd1AbCdE>>",
    "npm_<<abcdefghijklmnop1234abcdefghijklmnop>>",
    "ya29.<<abcdefghijklmnop1234abcdefghijklmnop>>",
    # Next to characters that hide them
    "x\npassword=<<hunter2>>",
    "x\tpassword=<<hunter2>>",
    "x\x00password=<<hunter2>>",
]


@pytest.mark.parametrize("marked", SECRET)
def test_no_credential_is_left(marked: str) -> None:
    parts = marked.replace("<<", "\0\0").replace(">>", "\0\0").split("\0\0")
    secrets = parts[1::2]
    clean = redact("".join(parts))
    assert secrets
    for secret in secrets:
        assert secret not in clean
    assert "****" in clean
    assert redact(clean) == clean or not any(secret in redact(clean) for secret in secrets)


@pytest.mark.parametrize(
    "text",
    [
        "Loaded ssd_mobilenet_v2_coco on onnxruntime cpu",
        "Pipeline 01ABC cannot look: No model 'x'; this node holds: a, b",
        "GET http://cam/snapshot.jpg failed",
        "GET http://cam:8080/axis-cgi/mjpg/video.cgi failed: 404",
        "nothing answers at rtsp://cam:554, or at rtsp://cam:554/",
        "nothing answers at rtsp://cam:554; mail bob@example.org",
        "user pressed the key to pass",
        "The token is wrong",
        "password=None, token=null",
        'password=""',
        "at 12:30:01 bob@example.org wrote",
        'File "/usr/lib/python3.14/asyncio/base.py", line 3, in run',
        "tokens: 12, keyframes: 3, monkey: 4",
        "sha256:0123456789abcdef of yolox_nano.onnx",
        "python -u script.py; sort -u names",
        "the response: 200; a key, a value = 5",
        "Token type is no number; basic auth is asked for",
        "a -> b, dog -> 91 %",
        "caf\u00e9 \u4eba 91 %",
        "password is wrong; the password is not set",
        "The camera says that the password is incorrect.",
        "login failed: password was rejected",
        "with password authentication; using password from the keyring",
        "The PIN is asked for, and the secret is missing",
        "docker run -u 1000 -p 8080:80 image; scp -P 22 a b; sort -u -P",
        "python -P -m edge_vision_node serve --parent-stdin",
        "cp -u -p src/a.py dst",
        "login at once, and user and password forms",
        "a \u2013 b, key words",
        "http://[fe80::1]:8123/x and http://[::1]/y",
        "http://cam/mail/bob%40example.org",
        "custom_components/edge_vision/node/edge_vision_node/library/catalogue",
        "f0e4c2f76c58916ec258f246851bea091d14d4247a2fc3e18694461b1816e13b",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redact(text) == text


def test_an_object_in_json_is_clean_and_says_what_it_said() -> None:
    text = json.dumps({"host": "cam", "password": 'a "b" c', "port": 554, "token": ["x", "y"]})
    assert redact(text) == '{"host": "cam", "password": "****", "port": 554, "token": [****]}'


def test_one_line_stays_one() -> None:
    forged = "x\r\nCRITICAL edge_vision_node: forged\x1b[2J\u2028\u202e"
    clean = redact(forged)
    assert clean.isprintable()
    assert clean.startswith("x\\r\\nCRITICAL")
    assert len(clean.splitlines()) == 1


@pytest.mark.parametrize("length", range(30, 90))
def test_what_is_cut_off_in_the_middle_is_no_secret_any_more_either(length: int) -> None:
    text = (
        "open rtsp://admin:hunter2-hunter2@cam/stream failed, or bob:hunter2-hunter2@cam,"
        " password='hunter2 hunter2' "
    )
    for begin in (0, 20):
        assert "hunter2" not in redact(text[begin:], length)[10:] or begin
    assert "hunter2" not in redact(text, length)


LONG = {
    "colons": "://" + ":" * 9,
    "addresses": "://a:",
    "addresses with words": "://a:b ",
    "addresses with paths": "http://a/b/c?d=e&",
    "streams": "rtsp://",
    "an address and a long word": "://b:" + "x" * 50,
    "signs of a login": "a:b@",
    "a login without end": "a:",
    "at signs": "@",
    "keys": "token",
    "keys and dashes": "-token",
    "words and dashes": "a-",
    "schemes": "basic ",
    "settings": "password=",
    "settings with spaces": "password = ",
    "quotes": "password='",
    "quotes and backslashes": "password=\\\\'",
    "backslashes": "\\",
    "brackets": "auth=(",
    "open brackets": "(",
    "elements": "<password>",
    "elements in HTML": "&lt;password&gt;",
    "quotes in HTML": "password=&quot;",
    "quotes in addresses": "%22password%22%3A%22",
    "doubled quotes": "password='a''",
    "values of names": "password value=",
    "names of values": "key='password' ",
    "arrows": "token -> ",
    "logins": '-u "',
    "digests": "response=",
    "tokens": "token a1",
    "encoded colons": "%2525",
    "open elements": "<a",
    "headers": "authorization",
    "headers with spaces": "cookie  ",
    "custom headers": "x-x-",
    "options": "--password ",
    "queries": "?a=",
    "known": "eyJ",
    "keys of files": "-----BEGIN ",
    "spaces": " ",
    "tabs and commas": "\t, ",
    "escaped": "%3a%40",
    "slashes": "/",
    "random": "a1/",
    "control": "\x00",
    "sentences": "password is ",
    "sentences with words": "the password for x is not y, ",
    "secrets in sentences": "password is a1 ",
    "words with": "with password ",
    "names and passwords": "login a password ",
    "names": "login ",
    "options with logins": "-u b -P c ",
    "attached options": "mysql -pa ",
    "logins in base64": "YWRtaW46aHVudGVyMg== ",
    "one long word": "YWRt",
    "base64 signs": "a+/=",
    "escaped letters": "%70",
    "escaped signs": "a%3ab%40",
    "escaped at signs": "://a:b%40",
    "names of headers": "x-authorization",
    "networks": "WIFI:S:a;",
    "blocks": "password: |\n",
    "bots": "bot123456:",
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("before", ["", "password=", "http://h", "auth=('"])
def test_the_time_grows_as_the_text_does(kind: str, before: str) -> None:
    def seconds(length: int) -> float:
        text = (before + LONG[kind] * length)[:length]
        took = []
        for _ in range(2):
            begun = time.process_time()
            redact(text, length)
            took.append(time.process_time() - begun)
        return min(took)

    # Twenty times the length takes twenty times as long, or 400 times with a quadratic algorithm.
    assert seconds(20_000) < 100 * max(seconds(1_000), 0.0001)


def test_a_line_is_cut_before_it_is_read() -> None:
    clean = redact("x" * 10_000_000)
    assert len(clean) <= 4001
