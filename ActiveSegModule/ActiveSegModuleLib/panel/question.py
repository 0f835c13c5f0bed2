"""A question with two buttons that say what they do; Return and Esc do nothing that cannot be taken back."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _


def confirmed(question: str, yes: str = "", no: str = "") -> bool:
    """Ask, and wait for the answer: whether the button with the text ``yes`` was pressed."""
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setWindowTitle(_("ActiveSeg"))
    box.setIcon(qt.QMessageBox.Question)
    box.setTextFormat(qt.Qt.PlainText)  # names in it may be anything
    box.setText(question)
    agree = box.addButton(yes or _("Yes"), qt.QMessageBox.AcceptRole)
    keep = box.addButton(no or _("Cancel"), qt.QMessageBox.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    box.exec_()
    agreed = box.clickedButton() == agree
    box.deleteLater()
    return bool(agreed)
