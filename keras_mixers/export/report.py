"""What became of an export, as a table and as JSON."""

import json
import math


def as_json(result):
    """Returns one JSON object of an `Export`."""
    compared = result.comparison
    score = compared.score.lower().replace("-", "_")
    facts = {
        "file": str(result.path),
        "written": result.agrees,
        "format": result.format,
        "precision": result.precision,
        "source": result.source,
        "bytes": result.size,
        "probabilities_by": result.probabilities_by,
        "seconds_to_convert": result.seconds,
        "compared_on": compared.on,
        "images": compared.images,
        "unreadable_images": len(result.unreadable_images),
        f"{score}_model": compared.score_of_model,
        f"{score}_file": compared.score_of_file,
        "agreement": compared.agreement,
        "min_agreement": result.min_agreement,
        "largest_difference": compared.largest_difference,
        "mean_difference": compared.mean_difference,
        "largest_output": compared.largest_output,
    }
    if result.latency:
        facts |= {
            "seconds": dict(zip(("median", "least", "most"), result.latency, strict=True)),
            "threads": result.threads,
            "delegate_partitions": result.partitions,
            "operators": {
                kind: {"count": count, "share_of_multiply_adds": share}
                for kind, (count, share) in result.operators.items()
            },
        }
    return json.dumps({name: _known(value) for name, value in facts.items()}, indent=1)


def _known(value):
    """JSON has no number for what is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(result):
    """Returns the lines of a table for people, and sentences about what it means."""
    from tabulate import tabulate

    return "\n".join(
        [tabulate(_rows(result), tablefmt="plain", disable_numparse=True), *_remarks(result)]
    )


def _rows(result):
    compared = result.comparison
    rows = [
        ("written" if result.agrees else "not written", result.path),
        ("made of", f"{result.source}, {result.precision}"),
        ("size", f"{result.size / 1e3:,.0f} kB"),
        ("seconds to convert", f"{result.seconds:.1f}"),
        ("compared on", f"{compared.images:,} {compared.on}"),
    ]
    if compared.score_of_model is not None:
        rows += [
            (f"{compared.score} of Keras", f"{compared.score_of_model:.2%}"),
            (f"{compared.score} of the file", f"{compared.score_of_file:.2%}"),
        ]
    rows += [
        ("agreement", f"{compared.agreement:.2%}"),
        ("largest difference", f"{compared.largest_difference:.2e}"),
        ("mean difference", f"{compared.mean_difference:.2e}"),
        ("largest output", f"{compared.largest_output:.2e}"),
    ]
    if result.unreadable_images:
        rows.append(("unreadable", f"{len(result.unreadable_images):,}"))
    if result.latency:
        median, least, most = (1e3 * seconds for seconds in result.latency)
        spread = f"{median:.3g} ms, {least:.3g} to {most:.3g}"
        rows += [
            ("latency", f"{spread} ({result.threads} threads)"),
            ("delegate partitions", result.partitions),
        ]
        for kind, (count, share) in sorted(result.operators.items(), key=lambda one: -one[1][1]):
            rows.append((f"operators in {kind}", f"{count:,}, {share:.2%} of the multiply-adds"))
    return rows


def _remarks(result):
    compared = result.comparison
    if not compared.is_telling:
        yield (
            "Warning: the model's output hardly depends on its input (is it untrained?), so this "
            "comparison shows little."
        )
    if result.precision == "int8-full" and result.partitions > 1:
        yield (
            "Integers only are for chips that have nothing else: a CPU runs it in "
            f"{result.partitions} pieces, slower than int8."
        )
    if not compared.is_finite:
        yield "The file's outputs are no finite numbers: choose another precision."
    elif result.precision == "float32" and not compared.is_rounding:
        yield "The converted model differs from the original by more than rounding."
    if result.probabilities_by:
        yield f"The outputs are logits: {result.probabilities_by} makes probabilities of them."
    if compared.score == "mAP":
        yield (
            "An image has the labels whose probabilities reach their thresholds, which the file's "
            "export.json has."
        )
    if result.min_agreement is not None and compared.agreement < result.min_agreement:
        yield f"The agreement is less than --min-agreement, {result.min_agreement:.2%}."
