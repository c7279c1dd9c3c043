"""The browser's pages."""

from django.urls import path

from privategpt.pages import account, secondfactor, sessions, signing, source, sources, tokens

urlpatterns = [
    path("sign-in", signing.sign_in, name="sign-in"),
    path("sign-in/code", signing.sign_in_code, name="sign-in-code"),
    path("sign-out", signing.sign_out, name="sign-out"),
    path("account", account.profile, name="profile"),
    path("account/you", account.save_you, name="save-you"),
    path("account/reading", account.save_reading, name="save-reading"),
    path("account/password", account.change_password, name="change-password"),
    path("account/second-factor", secondfactor.set_up, name="second-factor"),
    path("account/second-factor/off", secondfactor.turn_off, name="second-factor-off"),
    path("account/tokens", tokens.tokens, name="tokens"),
    path("account/tokens/<int:pk>/revoke", tokens.revoke_token, name="revoke-token"),
    path("account/sessions", sessions.sessions, name="sessions"),
    path("account/sessions/end", sessions.end_session, name="end-session"),
    path("account/sessions/end-others", sessions.end_other_sessions, name="end-other-sessions"),
    path("sources", sources.sources, name="sources"),
    path("sources/moving", sources.moving, name="moving-sources"),
    path("sources/write", sources.write, name="write-source"),
    path("sources/<uuid:pk>", source.source, name="source"),
    path("sources/<uuid:pk>/edit", sources.edit, name="edit-source"),
    path("sources/<uuid:pk>/move", sources.move, name="move-source"),
    path("sources/<uuid:pk>/delete", sources.delete, name="delete-source"),
    path("sources/<uuid:pk>/undo", sources.undo, name="undo-source"),
    path("sources/<uuid:pk>/again", sources.try_again, name="try-source-again"),
]
