"""Django's settings for ``post_office_queue``, from its environment."""

from __future__ import annotations

import json
import os

SECRET_KEY = "benchmark"  # noqa: S105 - signs nothing
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "post_office"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "NAME": "django"}]
DATABASES = {"default": json.loads(os.environ["PEER_DATABASE"])}
EMAIL_BACKEND = "post_office.EmailBackend"
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ["PEER_SMTP_PORT"])
POST_OFFICE = {
    "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
    **json.loads(os.environ["PEER_POST_OFFICE"]),
}
