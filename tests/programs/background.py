"""Runs the program that the first argument names, with a loop beside it that calls NEXT 50 times a second."""

import http.client
import os
import runpy
import sys
import threading
import time
from urllib.parse import urlsplit


def call_forever():
    url = urlsplit(os.environ["NEXT"])
    connection = http.client.HTTPConnection(url.hostname, url.port)
    number = 0
    while True:
        connection.request("GET", f"/t/background:{number}/hello")
        connection.getresponse().read()
        number += 1
        time.sleep(0.02)


threading.Thread(target=call_forever, daemon=True).start()
runpy.run_path(sys.argv[1])
