"""The message bar: what it says, what passes by itself, and what was said before."""

from __future__ import annotations

from typing import Any

from user import User, until

from activeseg.core.errors import InputError


def is_shown(user: User) -> bool:
    return bool(user.ui.messageFrame.isVisibleTo(user.ui.messageFrame.parent()))


def hurried(user: User) -> Any:
    """The panel's message bar, with little time to read."""
    message = user.widget.panel.message
    message.time_to_read.setInterval(1)
    return message


def test_what_asks_nothing_passes_and_is_found_again(user: User) -> None:
    message = hurried(user)
    message.notice("The engine is up to date.")
    assert message.text == "The engine is up to date."
    until(lambda: not is_shown(user))
    assert message.text == ""
    assert message.earlier[-1].text == "The engine is up to date."


def test_an_error_and_an_offer_stay(user: User) -> None:
    message = hurried(user)
    message.notice("One.")
    message.error(InputError("No CT is chosen."))
    assert not message.time_to_read.isActive()
    message.notice("One.")
    message.notice("Stored.", "Learn", lambda: None)
    assert not message.time_to_read.isActive()
    message.notice("One.")
    message.warning("Another frame.")
    assert not message.time_to_read.isActive()
    assert is_shown(user)


def test_a_move_of_its_own_can_be_taken_back_by_one_click(user: User) -> None:
    from ActiveSegModuleLib.panel.steps import Step

    steps, message = user.widget.panel.steps, user.widget.panel.message
    user.ui.exportStep.click()
    steps.lead(Step.LEARN, "A case is stored.")
    assert steps.current is Step.LEARN
    assert user.ui.messageActionButton.text == "Back to Export"
    user.ui.messageActionButton.click()
    assert steps.current is Step.EXPORT
    assert message.text == ""


def test_turning_a_page_puts_the_keyboard_into_no_field(user: User) -> None:
    ui, steps = user.ui, user.widget.panel.steps
    user.module.parent.show()
    user.module.parent.activateWindow()
    ui.exportStep.click()
    ui.patientEdit.setFocus()
    until(lambda: ui.patientEdit.hasFocus())
    ui.learnStep.click()
    assert ui.learnStep.hasFocus(), "not the first field of the page, as if somebody typed there"
    assert not steps.is_busy


def test_a_step_without_a_state_has_one_line(user: User) -> None:
    from ActiveSegModuleLib.panel.steps import Step, StepState

    steps, button = user.widget.panel.steps, user.ui.learnStep
    steps.tell(Step.LEARN, StepState("3 waiting"))
    assert button.text == "Learn\n3 waiting"
    steps.tell(Step.LEARN, StepState())
    assert button.text == "Learn"
    assert button.minimumHeight == 43, "the row does not jump"


def test_nothing_moves_while_the_user_types(user: User) -> None:
    from ActiveSegModuleLib.panel.steps import Step

    steps = user.widget.panel.steps
    user.module.parent.show()
    user.ui.exportStep.click()
    user.module.parent.activateWindow()
    user.ui.patientEdit.setFocus()
    until(lambda: user.ui.patientEdit.hasFocus())
    steps.lead(Step.REVIEW, "Segmented: 10 regions to review.")
    assert steps.current is Step.EXPORT
    assert user.ui.patientEdit.hasFocus()
    assert user.ui.messageActionButton.text == "Review"
    user.ui.messageActionButton.click()
    assert steps.current is Step.REVIEW
