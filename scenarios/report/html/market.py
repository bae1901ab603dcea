"""What the market of a question has to begin with: in a table of the page."""

from __future__ import annotations

from scenarios.file.schema.market import Cluster, Offer
from scenarios.report.basis import legend, marked
from scenarios.report.html.figures import Question
from scenarios.report.html.table import Cell, Row, Table, figure
from sim import Catalog


def offers_of(question: Question) -> dict[str, Offer]:
    """What there is to begin with, by name: offers, and GPU types that are rented one by one."""
    data = question.scenario.get("cluster", {})
    return Cluster.model_validate({key: data[key] for key in ("gpus", "offers") if key in data}).all_offers


def market_table(question: Question) -> Table:
    """What can be rented or is there, and at which price."""
    offers = offers_of(question)
    known = Catalog.default().gpus
    basis = question.manifest.get("basis", {})
    rows = []
    for name, offer in offers.items():
        price = offer.gpu_usd_per_h
        if price is None and offer.gpu in known:
            price = known[offer.gpu].usd_per_h
        tenure = offer.tenure.replace("_", " ")
        cells = (figure(offer.n_gpus, 0), figure(offer.per_node, 0), figure(price, 2))
        rows.append(Row([Cell(name), Cell(marked(offer.gpu, basis)), Cell(tenure), *cells]))
    gpus = sorted({offer.gpu for offer in offers.values()})
    title = f"What can be rented, to begin with{legend(gpus, basis)}"
    return Table(title, ("offer", "GPU type", "how", "available", "GPUs of a node", "$/h each"), rows)
