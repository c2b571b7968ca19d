"""Answers: what each names of a task, what is next for many, what went wrong, what a balance buys, where files go."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.hints import for_user
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow import waiting
from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._settings.installation import typed_command
from kie_ai_mcp._settings.settings import APP, Settings
from kie_ai_mcp.specs import Task
from kie_ai_mcp_sandbox.server import Sandbox

pytestmark = pytest.mark.anyio

PICTURE = "generate_nano_banana"
PICTURE_URL, SPEECH_URL = "https://example.com/a.png", "https://example.com/a.mp3"
EDIT = "edit_nano_banana"


@pytest.fixture
async def app(
    tmp_path: Path, sandbox: Sandbox, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    """A running application of one provider at the sandbox; further settings come as the fixture's parameter."""
    monkeypatch.setitem(waiting.CADENCE_S, "image", 0.05)
    values = {
        "api_key": "key-of-the-tests",
        "base_url": sandbox.base_url,
        "db_path": tmp_path / "tasks.db",
        "output_dir": tmp_path / "out",
        "upload_roots": (tmp_path / "mine",),
        "trusted_hosts": ("127.0.0.1",),
        "enabled_providers": ("nano-banana",),
    }
    opened = App.open(Settings.model_validate({**values, **getattr(request, "param", {})}))
    async with opened.engine.running():
        yield opened


async def ask(app: App, tool: str, **arguments: Any) -> tuple[Answer, dict[str, Any]]:
    answer = await app.call(tool, arguments)
    return answer, answer.data or {}


async def finished(app: App, prompt: str = "A fox") -> str:
    _, made = await ask(app, PICTURE, prompt=prompt)
    await ask(app, "wait_for_tasks", task_ids=[made["task_id"]], timeout_s=20)
    return str(made["task_id"])


async def test_every_answer_and_list_names_tool_model_and_prompt(app: App) -> None:
    prompt = "A fox " * 40
    made, data = await ask(app, PICTURE, prompt=prompt)
    named = (PICTURE, "google/nano-banana", f"{prompt[:119]}…")
    assert "Estimated cost: 4 credits ($0.02)" in made.text
    lists = [await ask(app, tool, **given) for tool, given in (
        ("list_tasks", {}), ("wait_for_tasks", {"task_ids": [data["task_id"]], "timeout_s": 20}),
    )]  # fmt: skip
    resource = json.loads((await app.resources.read("kie://tasks")).text or "")
    one = await ask(app, "get_task_status", task_id=data["task_id"])
    for task in (data, one[1], resource["tasks"][0], *(listed["tasks"][0] for _, listed in lists)):
        assert (task["tool"], task["model"], task["prompt"]) == named
    assert all(f"Prompt: {named[2]}" in answer.text for answer in (made, one[0], *(answer for answer, _ in lists)))
    assert "Charged: yes, 4 credits ($0.02)" in one[0].text


async def test_search_by_words_goes_on_where_it_looked_at_so_many(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kie_ai_mcp._record.tasks.SEARCHED", 3)
    old, *_ = [
        (await ask(app, PICTURE, prompt=f"A {beast}"))[1]["task_id"] for beast in ("hen", "fox", "owl", "elk", "cow")
    ]
    _, first = await ask(app, "list_tasks", words="hen")
    assert (first["tasks"], "the same words and next_cursor" in first["next_step"]) == ([], True)
    _, second = await ask(app, "list_tasks", words="hen", cursor=first["next_cursor"])
    assert ([task["task_id"] for task in second["tasks"]], "next_cursor" in second) == ([old], False)


@pytest.mark.parametrize("app", [{"enabled_providers": ("midjourney",)}], indirect=True)
async def test_unknown_price_is_a_note_and_no_number(app: App) -> None:
    _, made = await ask(app, "generate_midjourney_image", prompt="A fox")
    assert "estimated_credits" not in made
    assert "Price unknown." in made["notes"]


async def test_many_tasks_have_one_next_step_and_no_python_in_their_words(app: App) -> None:
    ids = [await finished(app, f"A fox {number}") for number in range(2)]
    answer, data = await ask(app, "wait_for_tasks", task_ids=[*ids, "nobody-knows-me"], timeout_s=20)
    assert answer.text.count("Next: ") == 1
    assert 'Of ["nobody-knows-me"]: Check the id' in data["next_step"]
    assert f"Of {json.dumps(ids)}: The results are saved" in data["next_step"]
    assert not answer.is_error
    listed, _ = await ask(app, "list_tasks")
    assert listed.text.count("Next: ") == 1
    shown, _ = await ask(app, "get_task_status", task_id=ids[0])
    assert "The service's own record: {\"" in shown.text
    wrong, _ = await ask(app, PICTURE, prompt={"words": True})
    assert '{"words": true}' in wrong.text


@pytest.mark.parametrize(
    ("tool", "arguments", "status"),
    [
        (PICTURE, {"prompt": ""}, "refused"),
        ("run_model", {"model": "no-such-model", "input": {}}, "refused"),
        ("get_task_status", {"task_id": "nobody-knows-me"}, "not found"),
        ("show_result", {"task_id": "nobody-knows-me"}, "not found"),
        ("list_tasks", {"cursor": "x"}, "unread"),
        ("describe_model", {"model": "no-such-model"}, "unread"),
        ("save_result", {"task_id": "x", "folder": "/nowhere/of/mine"}, "not done"),
        ("upload_file", {}, "not done"),
        ("resolve_submission", {"submission_id": 7, "action": "discard"}, "not done"),
    ],
)
async def test_refused_is_said_of_paid_requests_alone(
    app: App, tool: str, arguments: dict[str, Any], status: str
) -> None:
    answer, data = await ask(app, tool, **arguments)
    assert (answer.is_error, f"Status: {status}" in answer.text) == (True, True)
    assert ("Charged: no" in answer.text) == (status == "refused")
    assert data.get("status", status) == status


async def test_call_is_an_error_where_nothing_of_a_task_is_known_whichever_tool_is_asked(app: App) -> None:
    for tool, given in (("get_task_status", "task_id"), ("wait_for_tasks", "task_ids")):
        unknown = "nobody-knows-me" if given == "task_id" else ["nobody-knows-me"]
        assert (await app.call(tool, {given: unknown})).is_error
    failing, made = await ask(app, PICTURE, prompt="A fox [fail]")
    waited, data = await ask(app, "wait_for_tasks", task_ids=[made["task_id"]], timeout_s=20)
    assert [failing.is_error, waited.is_error, data["tasks"][0]["status"]] == [False, False, "failed"]


@pytest.mark.parametrize("app", [{"enabled_providers": ("nano-banana", "sandbox", "market")}], indirect=True)
async def test_balance_says_what_it_buys(app: App) -> None:
    answer, data = await ask(app, "get_credits")
    (bought,) = [entry for entry in data["buys"] if entry["tool"] == PICTURE]
    assert bought["count"] == int(data["credits"] // bought["credits"]) > 0
    assert f"{bought['count']} by {PICTURE}" in answer.text
    assert f"Left: {data['credits']:g} credits ($" in answer.text


async def test_result_is_saved_where_the_user_says_below_allowed_folders(app: App, tmp_path: Path) -> None:
    task_id = await finished(app)
    places = {
        "foxes/red": tmp_path / "out/foxes/red",
        str(tmp_path / "mine/x"): tmp_path / "mine/x",
        (tmp_path / "mine/y").as_uri(): tmp_path / "mine/y",
    }
    for folder, place in places.items():
        answer, data = await ask(app, "save_result", task_id=task_id, folder=folder)
        assert not answer.is_error, answer.text
        (file,) = map(Path, data["files"])
        assert (file.parent, file.is_file(), file.with_name(f"{file.name}.json").is_file()) == (place, True, True)
    assert (await ask(app, "get_task_status", task_id=task_id))[1]["files"] == [str(file)]


async def test_file_of_that_name_is_not_overwritten(app: App, tmp_path: Path) -> None:
    task_id = await finished(app)
    (saved,) = (await ask(app, "get_task_status", task_id=task_id))[1]["files"]
    other = tmp_path / "mine" / Path(saved).name
    other.parent.mkdir()
    other.write_text("mine", "utf-8")
    answer, _ = await ask(app, "save_result", task_id=task_id, folder=str(other.parent))
    assert (answer.is_error, other.read_text("utf-8")) == (True, "mine")
    assert "Choose another folder" in answer.text


@pytest.mark.parametrize("folder", ["..", "../elsewhere", "/", "link/x", "~nobody-of-this-name/x"])
async def test_folder_elsewhere_is_refused_with_the_cure(app: App, tmp_path: Path, folder: str) -> None:
    task_id = await finished(app)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    answer, _ = await ask(app, "save_result", task_id=task_id, folder=folder)
    assert answer.is_error
    assert f"folder: '{folder}' is not accepted" in answer.text
    assert "KIE_AI_UPLOAD_ROOTS" in answer.text or "no folder's path" in answer.text
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_path_that_is_not_allowed_is_refused_with_what_the_user_does(app: App, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/fox.png").write_bytes(b"x")
    path = str(tmp_path / "pictures/fox.png")
    edit = {"prompt": "A cat", "image_urls": [path]}
    refused, data = await ask(app, "edit_nano_banana", **edit)
    priced, cost = await ask(app, "estimate_cost", name="edit_nano_banana", arguments=edit)
    folder = tmp_path / "pictures"
    for step in (data["next_step"], cost["next_step"]):
        assert f"{typed_command(anywhere=True)} config set upload_roots --add {folder}`, then restart" in step
        assert "Correct the arguments" not in step
    assert all("lies outside the allowed folders" in answer.text for answer in (refused, priced))


async def test_result_of_a_running_task_is_waited_for_before_it_is_used(app: App) -> None:
    _, made = await ask(app, PICTURE, prompt="A fox")
    _, data = await ask(app, "edit_nano_banana", prompt="A cat", image_urls=[made["task_id"]])
    assert "and has no result yet" in data["error"]
    assert f'call wait_for_tasks with task_ids ["{made["task_id"]}"]' in data["next_step"]


@pytest.mark.parametrize("app", [{"output_dir": None}], indirect=True)
@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_commands_in_answers_can_be_typed_where_the_user_is(app: App, is_elsewhere: bool) -> None:
    if is_elsewhere:
        app.engine.links = Links.of(app.settings, "https://kie.example", app.engine.record.path)
    command = APP if is_elsewhere else typed_command(anywhere=True)
    told = f"{APP} tasks list"
    _, made = await ask(app, PICTURE, prompt=told)
    assert (made["prompt"], APP in command) == (told, True)
    refused, data = await ask(app, "save_result", task_id=made["task_id"])
    assert f"`{command} config set output_dir" in data["next_step"]
    assert f"`{command} config set output_dir" in refused.text
    assert for_user(app.engine, f"{APP} doctor says why.") == f"{command} doctor says why."


async def test_adopted_result_is_saved_with_how_it_was_made(app: App, sandbox: Sandbox) -> None:
    sandbox.play("drop-after", path="createTask")
    _, lost = await ask(app, PICTURE, prompt="A red boat")
    assert lost["status"] == "unknown"
    (task_id,) = sandbox.tasks
    _, adopted = await ask(app, "resolve_submission", submission_id=1, action="adopt", task_id=task_id)
    assert (adopted["prompt"], adopted["tool"]) == ("A red boat", PICTURE)
    (file,) = map(Path, adopted["files"])
    sidecar = json.loads(file.with_name(f"{file.name}.json").read_bytes())
    assert (sidecar["tool"], sidecar["arguments"]["prompt"]) == (PICTURE, "A red boat")
    assert "a-red-boat" in file.name


async def test_beginning_of_one_tasks_id_is_enough_to_read_and_save_it(app: App) -> None:
    task_id = await finished(app)
    short = task_id[:8]
    for tool, given in (("get_task_status", {}), ("show_result", {}), ("save_result", {"folder": "x"})):
        answer, _ = await ask(app, tool, task_id=short, **given)
        assert (answer.is_error, f"Task: {task_id}" in answer.text) == (False, True), answer.text
    _, waited = await ask(app, "wait_for_tasks", task_ids=[short])
    assert waited["tasks"][0]["task_id"] == task_id
    assert (await ask(app, "get_task_status", task_id=task_id[:3]))[0].is_error
    for end in "12":
        await app.engine.record.tasks.adopt(Task(f"{short}-{end}", "nano-banana", "nano-banana"))
    refused, _ = await ask(app, "get_task_status", task_id=short)
    assert (refused.is_error, f"{short}-1" in refused.text, f"{short}-2" in refused.text) == (True, True, True)


@pytest.mark.parametrize("app", [{"enabled_providers": ("nano-banana", "runway")}], indirect=True)
async def test_nothing_is_bought_or_settled_by_the_beginning_of_an_id(app: App, sandbox: Sandbox) -> None:
    task_id = await finished(app)
    made, short = len(sandbox.tasks), task_id[:8]
    for tool, given in (
        ("extend_runway_video", {"task_id": short, "prompt": "A fox"}),
        ("edit_nano_banana", {"image_urls": [short], "prompt": "A fox"}),
        ("resolve_submission", {"submission_id": 1, "action": "adopt", "task_id": short}),
    ):
        refused, _ = await ask(app, tool, **given)
        whole = f"{short!r} is not accepted: it is only the beginning of a task's id; give the whole one: {task_id}."
        assert (refused.is_error, whole in refused.text) == (True, True), refused.text
    assert len(sandbox.tasks) == made


async def test_description_of_a_tool_has_its_prices_and_what_is_next(app: App) -> None:
    answer, data = await ask(app, "describe_model", model=PICTURE)
    assert data["price"][0] == "usually 4 credits ($0.02)"
    assert any(line.startswith("nano-banana-2: 8 credits ($0.04)") for line in data["price"]), data["price"]
    assert "\n  usually 4 credits ($0.02)\n" in answer.text
    assert "Next: estimate_cost says what a call costs" in answer.text
    own = (await ask(app, "describe_model", model="list_tasks"))[1]
    assert (own["price"], own["rules"], "options" in own) == (["free"], [], False)


@pytest.mark.parametrize("app", [{"enabled_providers": ("nano-banana", "runway", "market")}], indirect=True)
async def test_description_has_every_remark_rule_and_option(app: App) -> None:
    answer, data = await ask(app, "describe_model", model="generate_runway_gen3_video")
    assert {"duration 5|10=5", "imageUrls [image] <=1", "frameRate int (refused)"} <= {*data["fields"]}
    assert data["rules"][-1] == "duration 10 not with resolution 1080p"
    assert data["notes"] == ["10 s: 720p. aspectRatio: without a picture."]
    options = [
        "subfolder text <=200 (of the output folder)",
        "max_credits number >=0 (a call that costs more is refused)",
    ]
    assert data["options"] == options
    assert "\nRules:\n  model: refused\n" in answer.text
    assert f"\nOptions:\n  {options[0]}\n  {options[1]}\nNext: " in answer.text
    of_model = (await ask(app, "describe_model", model="z-image"))[1]["options"]
    assert of_model == ["idempotency_key text <=200 (names the request, which is bought once)", *options]
    sent = {"prompt": "A fox", "aspect_ratio": "1:1", "max_credits": 0.5, "subfolder": "foxes"}
    _, cost = await ask(app, "estimate_cost", name="z-image", arguments=sent)
    assert "the limit of this call" in cost["next_step"] or "max_credits" in cost["next_step"], cost


async def test_search_names_a_provider_that_is_set_aside(app: App) -> None:
    app.engine.plugins.plugins["luma"].set_aside("ImportError: no module", "Install it anew.")
    answer, data = await ask(app, "find_models", words="luma video")
    said = "The provider luma is set aside: ImportError: no module. Install it anew. Then run: "
    assert (said in data["next_step"], said in answer.text) == (True, True)
    assert "set aside" not in (await ask(app, "find_models", words="cheap video"))[0].text


@pytest.mark.parametrize("app", [{"enabled_providers": ("market",)}], indirect=True)
async def test_description_of_a_model_names_the_options_without_a_price(app: App) -> None:
    _, data = await ask(app, "describe_model", model="grok-imagine-video-1-5-preview")
    assert data["price"][-1] == "resolution 1080p: no price is known"
    sent = {"prompt": "fox", "resolution": "1080p"}
    _, cost = await ask(app, "estimate_cost", name="grok-imagine-video-1-5-preview", arguments=sent)
    assert cost["notes"] == ["The price is not known: it has no line for resolution 1080p."]


@pytest.mark.parametrize("app", [{"enabled_providers": ("veo3",)}], indirect=True)
async def test_description_of_a_tool_of_one_model_has_the_whole_price_table(app: App) -> None:
    _, data = await ask(app, "describe_model", model="generate_veo3_video")
    _, of_model = await ask(app, "describe_model", model="veo-3-1")
    assert len(of_model["price"]) > 2
    assert data["price"][2:] == of_model["price"]


async def test_answer_names_no_saved_file_that_is_gone(app: App) -> None:
    task_id = await finished(app)
    (saved,) = map(Path, (await ask(app, "get_task_status", task_id=task_id))[1]["files"])
    saved.unlink()
    answer, data = await ask(app, "get_task_status", task_id=task_id)
    assert (data["files"], "Saved: " in answer.text) == ([], False)
    texts = [answer.text]
    for tool, given in (("show_result", {"task_id": task_id}), ("list_tasks", {})):
        other, data = await ask(app, tool, **given)
        (task,) = data.get("tasks", [data])
        assert (task.get("files", []), "Saved: " in other.text) == ([], False)
        texts.append(other.text)
    read = [json.loads((await app.resources.read(f"kie://tasks{end}")).text or "") for end in ("", f"/{task_id}")]
    assert [task["files"] for task in (read[0]["tasks"][0], read[1])] == [[], []]
    assert all("The saved file of result 1 is not there any more" in text for text in texts)
    assert not any("The results are saved" in text for text in texts)
    assert not saved.exists()
    assert (await ask(app, "save_result", task_id=task_id))[1]["files"] == [str(saved)]


async def test_one_result_is_shown_by_its_number(app: App) -> None:
    task_id = await finished(app)
    shown, _ = await ask(app, "show_result", task_id=task_id, number=1)
    assert (len(shown.pictures), "Result 1: a preview" in shown.text) == (1, True)
    wrong, _ = await ask(app, "show_result", task_id=task_id, number=2)
    assert (wrong.is_error, "its results are numbers 1 to 1" in wrong.text) == (True, True)


async def test_file_in_a_moved_output_folder_is_listed_where_it_is(app: App, tmp_path: Path) -> None:
    await finished(app)
    (tmp_path / "out").rename(tmp_path / "moved")
    object.__setattr__(app.engine.settings, "output_dir", tmp_path / "moved")
    (task,) = (await ask(app, "list_tasks"))[1]["tasks"]
    assert [Path(file).is_relative_to(tmp_path / "moved") for file in task["files"]] == [True]


async def test_call_in_place_of_a_refused_one_has_files_that_can_be_used(app: App, tmp_path: Path) -> None:
    asked = {"prompt": "A fox at sea", "n": 3}
    for gone in (str(tmp_path / "out" / "none.jpg"), "kie://files/nobody/1"):
        refused, data = await ask(app, EDIT, **asked, image_urls=[gone])
        assert ("instead" in data, "no such argument (given 3)" in refused.text) == (False, True)
        assert "image_urls[0]: " in refused.text
    task_id = await finished(app)
    refused, data = await ask(app, EDIT, **asked, image_urls=[task_id])
    instead = data["instead"]
    assert instead["arguments"] == {"prompt": "A fox at sea", "image_urls": [task_id]}
    assert not (await ask(app, instead["tool"], **instead["arguments"]))[0].is_error


async def test_what_the_call_in_place_of_a_refused_one_leaves_out_is_named(app: App) -> None:
    _, data = await ask(app, PICTURE, prompt="A fox", n=3)
    price = "4 credits ($0.02) with google/nano-banana"
    call = {"tool": PICTURE, "arguments": {"prompt": "A fox"}}
    assert data["instead"] == {**call, "costs": price, "left_out": {"n": 3}}
    cure = f"'instead' leaves out n and costs {price}: make that call if that will do, else correct the arguments."
    assert data["next_step"] == f"Nothing was recorded or sent. {cure}"
    _, priced = await ask(app, "estimate_cost", name=PICTURE, arguments={"prompt": "A fox", "n": 3})
    assert (priced["instead"], priced["next_step"]) == (data["instead"], f"Nothing was sent. {cure}")
    _, kept = await ask(app, PICTURE, prompt="A fox", resolution="9K")
    assert kept["instead"]["left_out"] == {"resolution": "9K"}
    words = (
        "'instead' has resolution '4K' in place of '9K' and costs 9 credits ($0.045) with nano-banana-2-1: make that"
    )
    assert words in kept["next_step"]
    _, spelt = await ask(app, PICTURE, prompt="A fox", resolution="4 K")
    assert "left_out" not in (spelt.get("instead") or {})


async def test_what_is_given_up_is_told_in_short(app: App) -> None:
    deep: Any = "end"
    for _ in range(60):
        deep = [deep]
    _, data = await ask(app, PICTURE, prompt="A fox", shade=deep, tone=["a" * 5_000])
    left = data["instead"]["left_out"]
    assert (left["shade"], len(left["tone"])) == ("…", 80)


async def test_call_in_place_of_a_refused_one_is_within_the_limits(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    record = app.engine.record
    monkeypatch.setattr(record, "budget", replace(record.budget, credits_per_request=3.0))
    refused, data = await ask(app, PICTURE, prompt="A fox", resolution="9K")
    assert refused.is_error
    assert "instead" not in data
    assert "has resolution '4K' in place of '9K' and costs 9 credits ($0.045)" in data["next_step"]
    assert "but a limit forbids it: This generate_nano_banana costs about 9 credits" in data["next_step"]


@pytest.mark.parametrize("app", [{"enabled_providers": ()}], indirect=True)
async def test_refusal_says_that_what_would_be_taken_is_too_dear_for_the_caller(app: App) -> None:
    speech = {"image_url": PICTURE_URL, "audio_url": "https://example.com/a.wav"}
    asked = {"prompt": "A fox", **speech, "model": "infinitalk", "max_credits": 50}
    _, data = await ask(app, "generate_talking_video", **asked)
    assert "instead" not in data
    assert "would be taken but for max_credits: it costs " in data["next_step"]


@pytest.mark.parametrize("app", [{"enabled_providers": ()}], indirect=True)
@pytest.mark.parametrize(
    ("tool", "asked", "used", "price"),
    [
        ("generate_veo3_video", {"model": "lite"}, {"model": "veo3_lite"}, "30 credits ($0.15) with veo3_lite"),
        (
            "generate_talking_video",
            {"image_url": PICTURE_URL, "audio_url": SPEECH_URL, "model": "infinitalk", "resolution": "1080p"},
            {"model": "infinitalk", "resolution": "720p"},
            "12 credits per second of audio_url with infinitalk/from-audio",
        ),
        ("generate_kling_video", {"model": "2.5-turbo", "duration": 15}, {"duration": 10}, "84 credits ($0.42) with"),
    ],
)
async def test_call_in_place_of_a_refused_one_keeps_the_model_and_tells_the_price(
    app: App, tool: str, asked: dict[str, Any], used: dict[str, Any], price: str
) -> None:
    _, data = await ask(app, tool, prompt="A fox at sea", **asked)
    instead = data["instead"]
    assert instead["arguments"] == {"prompt": "A fox at sea", **asked, **used}
    assert instead["costs"].startswith(price)
    assert f"costs {price}" in data["next_step"]


async def test_value_of_another_argument_is_kept_in_the_call_that_works(app: App) -> None:
    _, data = await ask(app, PICTURE, prompt="A fox", image_size="4K")
    call = {"tool": PICTURE, "arguments": {"prompt": "A fox", "resolution": "4K"}}
    assert data["instead"] == {**call, "costs": "9 credits ($0.045) with nano-banana-2-1"}
    step = "Make the call of 'instead': it costs 9 credits ($0.045) with nano-banana-2-1."
    assert data["next_step"] == f"Nothing was recorded or sent. {step}"
