"""What is checked of rendered manifests. A check takes them and tells their faults, a line each."""

from . import contents, names, network, pods, references, scaling, schemas, settings, text

# Schemas come first: the others may rely on every field to be of its type.
CHECKS = {
    "yamllint": text.faults,
    "schemas": schemas.native,
    "custom resources": schemas.custom,
    "empty values": schemas.empty,
    "names": names.faults,
    "references": references.faults,
    "network": network.faults,
    "scaling": scaling.faults,
    "pod security": pods.restricted,
    "hardening": pods.hardening,
    "settings": settings.faults,
    "contents": contents.faults,
}
BY_FORM = ["yamllint", "schemas", "custom resources", "empty values"]


def faults(manifests):
    """All faults as (check, line); of meaning only where there are none of form."""
    found = [(check, line) for check in BY_FORM for line in CHECKS[check](manifests)]
    if not found:
        found = [
            (check, line)
            for check in CHECKS
            if check not in BY_FORM
            for line in CHECKS[check](manifests)
        ]
    return found
