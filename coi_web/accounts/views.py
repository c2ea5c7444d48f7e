"""One's own account: the one-time link, API tokens, the theme."""

from __future__ import annotations

from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from coi_web.accounts import services
from coi_web.accounts.access import get_token_for, require_user
from coi_web.accounts.forms import SignInLinkForm, TokenForm, blame
from coi_web.accounts.models import ApiToken, User
from coi_web.audit.actors import Actor
from coi_web.errors import CoiError, NotFound
from coi_web.requests import actor_of

#: A form that was refused comes back with this status; htmx shows it in place (static/js/lib/htmx-setup.js).
REFUSED = 422


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """Opening the link spends nothing, since mail scanners and previews open links too; the button does."""
    try:
        user = services.find_sign_in_link(token).user
        form = SignInLinkForm(request.POST if request.method == "POST" else None, user=user)
        if request.method == "POST" and form.is_valid():
            user = services.use_sign_in_link(
                actor=actor_of(request), token=token, password=form.cleaned_data["password"]
            )
            return _signed_in(request, user)
    except NotFound as error:
        return render(request, "accounts/link_spent.html", {"error": error}, status=error.status)
    status = REFUSED if form.is_bound else 200
    context = {"form": form, "person": user, "must": not user.has_usable_password()}
    # The site-wide Referrer-Policy "same-origin" keeps the link from other sites.  A stricter one would make
    # browsers send "Origin: null" with the form, which the CSRF check refuses.
    return render(request, "accounts/sign_in_link.html", context, status=status)


def _signed_in(request: HttpRequest, user: User) -> HttpResponse:
    """Through allauth, so that a second factor is still asked for."""
    if request.user.is_authenticated and request.user.pk != user.pk:
        logout(request)
    response: HttpResponse = perform_login(request, user, email_verification="none")
    return response


@never_cache
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """The list, and a form whose answer shows the new token this once."""
    actor = actor_of(request)
    require_user(actor)
    form = TokenForm(request.POST if request.method == "POST" else None)
    context: dict[str, object] = {"form": form}
    if request.method == "POST" and form.is_valid():
        try:
            token, text = services.create_token(actor=actor, **form.cleaned_data)
            context |= {"form": TokenForm(), "created": token, "text": text}
            return _tokens_page(request, actor, context)
        except CoiError as error:
            blame(form, error)
    return _tokens_page(request, actor, context, REFUSED if form.is_bound else 200)


def _tokens_page(
    request: HttpRequest, actor: Actor, context: dict[str, object], status: int = 200
) -> HttpResponse:
    rows = ApiToken.objects.filter(user=require_user(actor), revoked_at=None)
    context |= {"tokens": rows, "api_url": f"{settings.COI_PUBLIC_URL}/api/v1"}
    return render(request, "accounts/tokens.html", context, status=status)


@require_POST
def token_revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    actor = actor_of(request)
    token = get_token_for(actor, token_id)
    services.revoke_token(actor=actor, token=token)
    messages.success(request, f"The token “{token.name}” does not work any more.")
    return redirect("accounts:tokens")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """204 for scripts, else back to where the person was."""
    services.set_theme(actor=actor_of(request), theme=request.POST.get("theme", ""))
    if request.headers.get("X-Requested-With") == "fetch" or request.headers.get("HX-Request"):
        return HttpResponse(status=204)
    back = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(back, {request.get_host()})
    return redirect(back if is_ours else "/")
