"""A task's own figures over the test split, its answers made as a server makes them, by the trained modules."""

from enfold import tasks
from enfold.tasks import Prepared
from training.artefacts import needed_folder
from training.evaluation import Subject
from training.heads import load_head, run_by

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    """What an item's answer is measured against stands in the side that the head names."""
    run = subject.run
    assert subject.encoder is not None
    assert subject.stage is not None
    folder = needed_folder(subject.stage, run, "head.json")
    saved = load_head(folder, subject.encoder)
    kind = tasks.get(saved.head.task)
    task, options = kind(kind.Spec(**saved.spec), folder), kind.Options()
    data, modality = subject.data("test"), run.modality
    graphs = run_by(saved.head.graphs(subject.encoder, subject.prepared("test", 2)))
    answers = []
    for i in range(len(data)):
        samples = modality.prepare(data.read(i, modality), parts=task.parts(options))
        answers += task.run(graphs, Prepared([samples], {}), options)
    return task.measure(answers, subject.side("test", saved.head.truth))
