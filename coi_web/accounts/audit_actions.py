from coi_web.audit.actions import register_action

_ACTIONS = {
    "account.sign-in": "signed in",
    "account.sign-in-failed": "could not sign in as {target}",
    "account.sign-out": "signed out",
    "account.link-used": "signed in by one-time link",
    "account.password-changed": "changed the password of {target}",
    "account.second-factor-changed": "changed the second factor of {target}",
    "account.theme-changed": "changed the theme",
    "user.create": "created the account {target}",
    "user.change": "changed the account {target}",
    "user.disable": "disabled the account {target}",
    "user.enable": "enabled the account {target}",
    "user.link": "made a one-time sign-in link for {target}",
    "user.second-factor-reset": "reset the second factor of {target}",
    "team.create": "created the team {target}",
    "team.change": "changed the team {target}",
    "team.delete": "deleted the team {target}",
    "team.member-add": "added {target} to the team",
    "team.member-change": "changed the role of {target}",
    "team.member-remove": "removed {target} from the team",
    "token.create": "created the API token {target}",
    "token.revoke": "revoked the API token {target}",
    "access.refused": "reached for {target}",
}


def register() -> None:
    for code, phrase in _ACTIONS.items():
        register_action(code, phrase)
