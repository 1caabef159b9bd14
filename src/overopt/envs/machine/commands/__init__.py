"""The commands of the simulated machine, one module a family: functions of a ``Call`` that return a status."""
