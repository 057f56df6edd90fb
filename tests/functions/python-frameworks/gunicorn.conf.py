"""How gunicorn serves flask_function: two workers, the class by the command line."""

import os

wsgi_app = "flask_function:app"
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '0')}"
workers = 2
loglevel = "error"


def when_ready(server):
    print("listening", server.LISTENERS[0].sock.getsockname()[1], flush=True)
