"""A parent that waits for the file that its first argument names, then forks a child, which runs the program that the
second argument names; no program is executed in between."""

import os
import runpy
import sys
import time

while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
child = os.fork()
if child == 0:
    runpy.run_path(sys.argv[2])
os.waitpid(child, 0)
