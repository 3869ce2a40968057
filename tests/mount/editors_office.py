"""Saves as LibreOffice does: `editors_office.py PATH SAVES`, by an office without a screen.

Opens the document, puts a `!` before its text and stores it in place, SAVES times; then closes all. The office's
own settings go below $HOME.
"""
import os
import subprocess
import sys
import time

import uno
from com.sun.star.beans import PropertyValue
from com.sun.star.connection import NoConnectException

START_S = 60


def start():
    pipe = f'moot-{os.getpid()}'
    url = f'pipe,name={pipe};urp;StarOffice.ComponentContext'
    accept = url.rpartition(';')[0]
    office = subprocess.Popen(['soffice', '--headless', '--norestore', '--nologo', f'--accept={accept};'],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    resolver = uno.getComponentContext().ServiceManager.createInstance('com.sun.star.bridge.UnoUrlResolver')
    end = time.monotonic() + START_S
    while True:
        try:
            return office, resolver.resolve(f'uno:{url}')
        except NoConnectException:
            if time.monotonic() > end or office.poll() not in (None, 0, 81):
                office.kill()
                raise
            time.sleep(0.1)


def main(path, saves):
    office, context = start()
    desktop = context.ServiceManager.createInstanceWithContext('com.sun.star.frame.Desktop', context)
    hidden = PropertyValue()
    hidden.Name, hidden.Value = 'Hidden', True
    document = desktop.loadComponentFromURL(uno.systemPathToFileUrl(os.path.abspath(path)), '_blank', 0, (hidden,))
    for _ in range(saves):
        document.Text.insertString(document.Text.Start, '!', False)
        document.store()
    document.close(True)
    desktop.terminate()
    office.wait(START_S)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
