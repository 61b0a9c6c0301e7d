"""What a row says, whatever its format: written from the formats' own documents, not from our writers."""


def turns(row):
    """(user's text, assistant's text) pairs."""
    if "messages" in row:
        said = [turn for turn in row["messages"] if turn["role"] != "system"]
        return [(a["content"], b["content"]) for a, b in zip(said[::2], said[1::2], strict=True)]
    if "conversations" in row:
        said = [turn["value"] for turn in row["conversations"]]
        return list(zip(said[::2], said[1::2], strict=True))
    if "context" in row:
        return [(f"{row['instruction']}\n\n{row['context']}", row["response"])]
    if "instruction" in row:
        return [(f"{row['instruction']}\n\n{row['input']}".strip(), row["output"])]
    if "prompt" in row:
        return [(row["prompt"], row["completion"])]
    return [(row["question"], row["answer"])]


def unframed(prompt):
    """The prompt without the frame that benchmarks put around it."""
    return prompt.removeprefix("Question: ").removesuffix("\nAnswer:")
