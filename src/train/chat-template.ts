// The turns of Gemma as a Jinja template, for the tokenizer_config.json of models that are made here: other programs
// read the prompt format there. It renders what src/tokenizer/built-in-template.ts renders for generations 1 and 2.

/** Between `<start_of_turn>` and `<end_of_turn>`, roles user and model, beginning with <bos>. */
export const CHAT_TEMPLATE: string = [
  '{{ bos_token }}',
  "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}",
  '{% for message in messages %}',
  "{% if (message['role'] == 'user') != (loop.index0 is even) %}",
  "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}",
  '{% endif %}',
  "{% set name = 'model' if message['role'] == 'assistant' else message['role'] %}",
  "{{ '<start_of_turn>' + name + '\\n' + (message['content'] | trim) + '<end_of_turn>\\n' }}",
  '{% endfor %}',
  "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
].join('')
