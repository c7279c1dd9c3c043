"""The browser's pages."""

from django.urls import path

from privategpt.pages import signing

urlpatterns = [
    path("sign-in", signing.sign_in, name="sign-in"),
    path("sign-out", signing.sign_out, name="sign-out"),
]
