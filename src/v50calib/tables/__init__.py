"""Small tables of planets as people keep them: ids and numbers as spreadsheets write them, a bad row refused by file and line."""
