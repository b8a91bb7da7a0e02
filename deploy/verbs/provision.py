"""`fab provision`: prepare a bare server for the app, and close it except for the app and SSH keys."""

from ..connection.slim import pack_ahead
from ..errors import StepFailed
from ..plan.provision import provisioning
from ..session.execute import Count, carry_out, title
from ..session.second_login import require_key
from ..session.session import Call, Host, each_told_of


def provision(call: Call) -> None:
    plan = provisioning(call.app, call.hosts[0].stage, call.options.force)
    pack_ahead(plan)

    def provision_on(host: Host) -> None:
        title(call.screen, "provision", host, call.options)
        if not call.options.check:
            require_key(host)
        try:
            run, count = {"app": call.app.name}, Count()
            carry_out(plan, host, call.screen, call.options, "provisioned", run, count, look_first=True)
        except StepFailed as error:
            error.state = error.state or "earlier steps stay done; the next run continues from here"
            raise

    with each_told_of(call.hosts, "checked" if call.options.check else "provisioned"):
        call.run(provision_on)
