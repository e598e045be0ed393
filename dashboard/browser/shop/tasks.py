"""The tasks of a shop, for pictures of the dashboard: each takes as long as such a thing takes."""

import asyncio

from stoker import Stoker, current_job

app = Stoker()


@app.task("invoice.send", queue="mail")
async def send_invoice(order: int, to: str) -> dict[str, str]:
    """Write an invoice and send it."""
    job = current_job()
    job.log(f"order {order}: 3 lines, 129.00 EUR")
    await asyncio.sleep(0.4)
    job.log(f"sent to {to}")
    return {"message_id": f"{order}@shop.example"}


@app.task("image.resize", queue="images")
async def resize_image(key: str, widths: list[int]) -> dict[str, int]:
    """Make smaller copies of a picture."""
    for number, width in enumerate(widths, 1):
        await asyncio.sleep(1.5)
        current_job().progress(number / len(widths), f"{key}, {width} px")
    return {"copies": len(widths)}


@app.task("report.build", queue="reports")
async def build_report(month: str, rows: int = 90_000) -> dict[str, int]:
    """Add up a month."""
    job = current_job()
    for done in range(0, rows, rows // 90):
        job.progress(done / rows, f"{done:,} of {rows:,} rows of {month}")
        if done % (rows // 9) == 0:
            job.log(f"{done:,} rows read")
        await asyncio.sleep(0.9)
    return {"rows": rows}


@app.task("webhook.deliver", queue="hooks", max_retries=4)
async def deliver(url: str, event: str) -> int:
    """Tell another system what happened."""
    current_job().log(f"POST {url} ({event})")
    await asyncio.sleep(0.2)
    if "partner" in url:
        answer = 502
        raise ConnectionError(f"{url} answered {answer} Bad Gateway")
    return 204


@app.task("order.import", queue="imports", max_retries=0)
async def import_order(order: int, address: str | None = None) -> int:
    """Take over an order of the marketplace."""
    job = current_job()
    job.log(f"order {order} read")
    await asyncio.sleep(0.3)
    if address is None:
        raise ValueError(f"order {order} has no address")
    return order


@app.task("search.index", queue="search")
async def index(product: int) -> None:
    """Make a product findable."""
    await asyncio.sleep(0.15)
    current_job().log(f"product {product} indexed")
