"""What people type on the account and people pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from coi_web.accounts.models import ApiToken, Membership, User, slug_validators, username_validators
from coi_web.errors import CoiError


def blame(form: forms.Form, error: CoiError) -> None:
    """Show a service's refusal at the field that it names, else above the form."""
    field = error.data.get("field")
    form.add_error(field if isinstance(field, str) and field in form.fields else None, error.message)


class SignInLinkForm(forms.Form):
    """Whoever has no password yet must choose one; whoever has one may."""

    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), max_length=200, strip=False
    )
    password_again = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), max_length=200, strip=False
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        must = not user.has_usable_password()
        for field in self.fields.values():
            field.required = must
        self.fields["password"].help_text = "At least 10 characters; nothing common, nothing like your name."

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        password = data.get("password", "")
        if password != data.get("password_again", ""):
            self.add_error("password_again", "The two passwords differ. Type the same one twice.")
        elif password:
            try:
                validate_password(password, self.user)
            except ValidationError as error:
                self.add_error("password", error)
        return data


class TokenForm(forms.Form):
    name = forms.CharField(max_length=64, help_text="What it is for, such as the script that uses it.")
    scope = forms.ChoiceField(
        choices=[(ApiToken.Scope.READ, "Read only"), (ApiToken.Scope.WRITE, "Read and change")],
        help_text="A token can do what you can do; with read only it changes nothing.",
    )
    days = forms.TypedChoiceField(
        coerce=int,
        choices=[(7, "7 days"), (30, "30 days"), (90, "90 days"), (366, "a year")],
        initial=90,
        label="Ends after",
    )


class UserChangeForm(forms.Form):
    display_name = forms.CharField(max_length=100, required=False)
    email = forms.EmailField(required=False, max_length=254)
    is_administrator = forms.BooleanField(
        required=False, label="Administrator", help_text="Manages people, sees everything, ends any session."
    )
    is_auditor = forms.BooleanField(
        required=False, label="Auditor", help_text="Sees everything and changes nothing."
    )


class UserForm(UserChangeForm):
    username = forms.CharField(
        max_length=32,
        validators=username_validators,
        help_text="Small letters, digits and hyphens, beginning with a letter. It cannot be changed later.",
    )

    field_order = ("username", "display_name", "email", "is_administrator", "is_auditor")


class TeamForm(forms.Form):
    name = forms.CharField(max_length=100)
    slug = forms.CharField(
        max_length=48,
        validators=slug_validators,
        help_text="For addresses and searches: small letters, digits and hyphens. It cannot be changed later.",
    )


class RenameForm(forms.Form):
    name = forms.CharField(max_length=100)


class MemberForm(forms.Form):
    username = forms.CharField(max_length=32)
    role = forms.ChoiceField(choices=Membership.Role.choices)


class TypedNameForm(forms.Form):
    """Guards what cannot be undone."""

    typed = forms.CharField(max_length=100)

    def __init__(self, *args: Any, name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = name

    def clean_typed(self) -> str:
        if self.cleaned_data["typed"].strip() != self.name:
            raise ValidationError(f"Type “{self.name}” to confirm.")
        return self.name
