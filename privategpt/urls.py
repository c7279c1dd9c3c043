"""The browser's pages."""

from django.urls import path

from privategpt.pages import chats, exports, signing, streaming

urlpatterns = [
    path("", chats.home, name="home"),
    path("chats/", chats.everything, name="chats"),
    path("chats/new", chats.begin, name="chat-begin"),
    path("chats/<uuid:pk>/", chats.show, name="chat"),
    path("chats/<uuid:pk>/ask", chats.ask, name="chat-ask"),
    path("chats/<uuid:pk>/stop", chats.stop, name="chat-stop"),
    path("chats/<uuid:pk>/rename", chats.rename, name="chat-rename"),
    path("chats/<uuid:pk>/pin", chats.pin, name="chat-pin"),
    path("chats/<uuid:pk>/delete", chats.delete, name="chat-delete"),
    path("chats/<uuid:pk>/restore", chats.restore, name="chat-restore"),
    path("chats/<uuid:pk>/chat.md", exports.as_markdown, name="chat-markdown"),
    path("chats/<uuid:pk>/chat.json", exports.as_json, name="chat-json"),
    path("chats/<uuid:chat_pk>/<uuid:pk>/", chats.one_exchange, name="exchange"),
    path("chats/<uuid:chat_pk>/<uuid:pk>/again", chats.again, name="exchange-again"),
    path("chats/<uuid:chat_pk>/<uuid:pk>/held", chats.held, name="exchange-held"),
    path("chats/<uuid:chat_pk>/<uuid:pk>/text", chats.text, name="exchange-text"),
    path("chats/<uuid:chat_pk>/<uuid:pk>/events", streaming.events, name="exchange-events"),
    path("sign-in", signing.sign_in, name="sign-in"),
    path("sign-out", signing.sign_out, name="sign-out"),
]
