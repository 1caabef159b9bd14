"""The proxies and runs that the sizes are compared by: all pairs, hard labels, no penalty; the rest is told by name."""

from overopt.studies.study_tables import ProxyTable, StudyTables


def main_proxies(tables: StudyTables) -> dict[str, list[str]]:
    """Base → names of its proxies, one a training seed, sizes from small to large.

    Only those trained as all are: others of the same base and number of pairs differ in labels, passes or rounds, and
    their names say so. Seeds that another question asks for besides are left out, so that answers do not depend on
    which questions were asked.
    """
    found: dict[str, list[str]] = {}
    for proxy in tables.proxies():
        if not is_main(proxy, tables.settings["pairs"]) or not tables.has(f"scores/{proxy.name}"):
            continue
        if int(proxy.name.rpartition("-s")[2]) < _seeds(tables, proxy.base):
            found.setdefault(proxy.base, []).append(proxy.name)
    return found


def is_main(proxy: ProxyTable, pairs: int) -> bool:
    """Whether the name is that of a base, the pairs and a seed alone."""
    start = f"{proxy.base}-p{pairs}-s"
    return proxy.name.startswith(start) and proxy.name.removeprefix(start).isdigit()


def reference_base(tables: StudyTables) -> str | None:
    """Base of the reference proxy, if it is among the main ones."""
    return next((base for base in main_proxies(tables) if _is_of(tables.settings["reference_proxy"], base)), None)


def size_runs(tables: StudyTables) -> dict[str, str]:
    """Proxy → its run in the sweep of sizes, whose seed has the proxy's number; proxies without one are left out."""
    names = [name for proxies in main_proxies(tables).values() for name in proxies]
    runs = {name: f"{name}-r{name.rpartition('-s')[2]}" for name in names}
    return {name: run for name, run in runs.items() if tables.has(f"rl/{run}")}


def free_runs(tables: StudyTables, proxy: str, *, is_slow: bool = False) -> list[str]:
    """Runs of the initial policy against that proxy without a penalty, by seed; at the usual or the slow rate."""
    start = f"{proxy}-slow-r" if is_slow else f"{proxy}-r"
    names = [name for name in tables.names("rl") if name.removeprefix(start).isdigit()]
    return sorted(names, key=lambda name: int(name.rpartition("-r")[2]))


def held_runs(tables: StudyTables, proxy: str) -> dict[float, list[str]]:
    """Penalty → runs of the initial policy against that proxy with it, by seed."""
    found: dict[float, list[str]] = {}
    for penalty in tables.settings["penalties"]:
        start = f"{proxy}-kl{penalty:g}-r"
        names = [name for name in tables.names("rl") if name.removeprefix(start).isdigit()]
        if names:
            found[float(penalty)] = sorted(names, key=lambda name: int(name.rpartition("-r")[2]))
    return found


def _seeds(tables: StudyTables, base: str) -> int:
    """How many proxies of that base the sweep of sizes has."""
    models = tables.settings["proxies"]
    place = next((k for k, model in enumerate(models) if _is_of(model, base)), 0)
    is_seeded = place <= models.index(tables.settings["seeded_proxy"])
    return int(tables.settings["proxy_seeds"]) if is_seeded else 1


def _is_of(model: str, base: str) -> bool:
    """Whether ``base`` is the short name of a shipped model, a folder or a hub name."""
    name = model.rstrip("/").rpartition("/")[2]
    return base in (name, name.replace("chitchat-", ""))
