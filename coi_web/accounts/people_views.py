"""Accounts, for administrators; auditors look on."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from coi_web.accounts import services
from coi_web.accounts.access import get_user_for, require_administrator, require_user, team_ids
from coi_web.accounts.forms import UserChangeForm, UserForm, blame
from coi_web.accounts.models import Membership, SignInLink, Team, User
from coi_web.accounts.views import REFUSED
from coi_web.errors import CoiError
from coi_web.requests import actor_of

ROWS = 100


@require_safe
def people(request: HttpRequest) -> HttpResponse:
    """Everybody for auditors and administrators; for others the teams that they are in."""
    user = require_user(actor_of(request))
    text, after = request.GET.get("q", "").strip()[:100], request.GET.get("after", "")
    accounts = User.objects.prefetch_related("memberships__team") if user.sees_everything else None
    if accounts is not None:
        if text:
            accounts = accounts.filter(
                Q(username__icontains=text) | Q(display_name__icontains=text) | Q(email__icontains=text)
            )
        if after:
            accounts = accounts.filter(username__gt=after)
    found = list(accounts[: ROWS + 1]) if accounts is not None else []
    teams = Team.objects.all() if user.sees_everything else Team.objects.filter(pk__in=team_ids(user))
    context = {
        "accounts": found[:ROWS],
        "next": found[ROWS - 1].username if len(found) > ROWS else "",
        "q": text,
        "team_rows": teams.annotate(member_count=Count("memberships")).order_by("name"),
        "sees_accounts": accounts is not None,
    }
    return render(request, "accounts/people.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def user_new(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    require_administrator(actor)
    form = UserForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.create_user(actor=actor, **form.cleaned_data)
            return _show_link(request, user, services.create_sign_in_link(actor=actor, user=user), new=True)
        except CoiError as error:
            blame(form, error)
    return render(request, "accounts/user_new.html", {"form": form}, status=REFUSED if form.is_bound else 200)


def _show_link(request: HttpRequest, user: User, token: str, *, new: bool) -> HttpResponse:
    url = request.build_absolute_uri(reverse("accounts:sign-in-link", args=[token]))
    return render(request, "accounts/link_made.html", {"person": user, "link": url, "is_new": new})


@require_http_methods(["GET", "POST"])
def user_detail(request: HttpRequest, username: str) -> HttpResponse:
    actor = actor_of(request)
    person = get_user_for(actor, username, to="view")
    initial = {
        "display_name": person.display_name, "email": person.email,
        "is_administrator": person.is_superuser, "is_auditor": person.is_auditor,
    }  # fmt: skip
    form = UserChangeForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST":
        get_user_for(actor, username, to="manage")
        if form.is_valid():
            try:
                services.change_user(actor=actor, user=person, **form.cleaned_data)
                messages.success(
                    request, "Saved. Open pages of this person take over the new rights at once."
                )
                return redirect("accounts:user", person.username)
            except CoiError as error:
                blame(form, error)
                person.refresh_from_db()
    links = SignInLink.objects.filter(user=person, used_at=None, expires_at__gt=timezone.now())
    context = {
        "person": person,
        "form": form,
        "memberships": Membership.objects.filter(user=person).select_related("team"),
        "open_link": links.first(),
        "has_second_factor": services.has_second_factor(person),
    }
    return render(request, "accounts/user.html", context, status=REFUSED if form.is_bound else 200)


@require_POST
def user_disable(request: HttpRequest, username: str) -> HttpResponse:
    actor = actor_of(request)
    person = get_user_for(actor, username, to="manage")
    services.set_user_enabled(actor=actor, user=person, enabled=False)
    messages.success(request, f"{person.username} is signed out everywhere and cannot sign in.")
    return redirect("accounts:user", person.username)


@require_POST
def user_enable(request: HttpRequest, username: str) -> HttpResponse:
    actor = actor_of(request)
    person = get_user_for(actor, username, to="manage")
    services.set_user_enabled(actor=actor, user=person, enabled=True)
    messages.success(request, f"{person.username} can sign in again.")
    return redirect("accounts:user", person.username)


@never_cache
@require_POST
def user_link(request: HttpRequest, username: str) -> HttpResponse:
    """A new one-time link, shown this once."""
    actor = actor_of(request)
    person = get_user_for(actor, username, to="manage")
    return _show_link(request, person, services.create_sign_in_link(actor=actor, user=person), new=False)


@require_POST
def user_reset_second_factor(request: HttpRequest, username: str) -> HttpResponse:
    actor = actor_of(request)
    person = get_user_for(actor, username, to="manage")
    services.reset_second_factor(actor=actor, user=person)
    messages.success(
        request, f"{person.username} signs in with the password only, until they set up a new one."
    )
    return redirect("accounts:user", person.username)
