"""Waits until a node answers: `python until_live.py https://host:port/health/live ca.pem`."""

import ssl
import sys
import time
import urllib.error
import urllib.request

address, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
until = time.monotonic() + 60
while True:
    try:
        urllib.request.urlopen(address, context=context, timeout=5)
        break
    except OSError as error:
        if time.monotonic() > until:
            sys.exit(f"it never came to be live: {error}")
        time.sleep(0.1)
