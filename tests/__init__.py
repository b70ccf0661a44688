import sys

if "pytest" in sys.modules:  # a program that only borrows from the tests has no properties to try
    from hypothesis import HealthCheck, settings

    # How long an example takes depends on the machine and on what else it does: that is no property of the code.
    settings.register_profile(
        "any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")
