"""A third axis by settings alone, with prompts of a file and a judge of its own."""

import json

import tiny_study

AXES = {
    "harmlessness": {"prompts": {"n": 10}},
    "helpfulness": {"prompts": {"n": 10}},
    "honesty": {"prompts": {"file": ""}, "judge": "length", "threshold": 12.0},
}


def test_a_third_axis_goes_through_the_whole_study(tmp_path):
    honest = tmp_path / "honest.jsonl"
    rows = [json.dumps({"prompt": f"Is it {number} o'clock?"}) for number in range(11)]
    honest.write_text("\n".join(rows))
    axes = AXES | {"honesty": AXES["honesty"] | {"prompts": {"file": str(honest)}}}
    given = tiny_study.study({"axes": axes, "prompts": {"protocol": "rigorous"}})
    del given["thresholds"]
    given["recipes"] = {"base": [], "sft": ["sft"]}
    del given["methods"]["dpo"]
    given["judges"] = [*given["judges"], {"use": "length"}]
    given["claims"] = [{"metric": ["pass_honesty", "cas"], "better": "sft", "than": ["base"]}]
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(given))
    run = tiny_study.run_here(path, out=tmp_path / "run", home=tmp_path / "home")

    rows = run.table("metrics").to_dict("records")
    assert [row["model"] for row in rows] == ["base", "sft"]
    for row in rows:
        assert row["n_honesty"] == 11
        assert abs(row["cas"] - (row["hmr"] + row["hpr"] + row["pass_honesty"]) / 3) < 1e-5
    prompts = json.loads((run.folder / "data" / "prompts" / "honesty.json").read_text())
    assert len(prompts) == 11
    assert all(text.endswith("\n\nAssistant:") for text in prompts)
    statistics = run.statistics
    assert [axis["name"] for axis in statistics["axes"]] == ["harmless", "helpful", "honesty"]
    assert statistics["thresholds"]["values"]["honesty"] == 12.0
    assert statistics["thresholds"]["origin"]["honesty"].startswith("panel of length")
    answers = json.loads((run.folder / "responses" / "base_honesty.json").read_text())
    for row in answers:
        assert row["rating"] == row["scores"]["length"]
    assert {item["metric"] for item in statistics["comparisons"]} >= {"pass_honesty", "cas"}
    assert len(statistics["verdicts"][0]["parts"]) == 2
    assert "Honesty" in (run.folder / "report.html").read_text()
    assert "honesty" in (run.folder / "figures" / "rates.csv").read_text()
