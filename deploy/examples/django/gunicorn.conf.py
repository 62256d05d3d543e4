"""What `gunicorn mysite.wsgi` reads in this folder. https://docs.gunicorn.org/en/stable/settings.html"""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = 2
# Requests under way may take this long to end once gunicorn is told to stop; less than supervisor's stop_timeout.
graceful_timeout = 5
# gunicorn's own control interface would put a socket into the home folder, shared by every gunicorn of the user.
control_socket_disable = True
