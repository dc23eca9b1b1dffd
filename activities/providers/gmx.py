"""GMX."""

from __future__ import annotations

from activities.providers.profile import Profile
from models.provider import ProviderName

GMX = Profile(
    ProviderName.GMX,
    hosts=("mail.gmx.net", "mail.gmx.com"),
    # Whether copies are filed is a setting of each mailbox, which we cannot see.
)
